//! Ways to show a credential besides a header, and what a client can do with them.

use crate::api::{Api, POLICY, TOKEN};

#[test]
fn in_a_query_or_a_cookie_it_goes_to_the_api_and_fails_closed_everywhere_else() {
    for (how, own) in [
        ("send_as: { query: api_key }", "\"$GUARD_API_URL/v1/echo?API-KEY=mine&x=1\""),
        (
            "send_as: { cookie: session }",
            "-H 'Cookie: a=1; Session=mine' \"$GUARD_API_URL/v1/echo\"",
        ),
    ] {
        let api = Api::with(POLICY, how, |it| it);
        let script = format!(
            "get \"$GUARD_API_URL/v1/echo?x=1\" -H 'Cookie: theme=dark'\n\
             get \"$GUARD_API_URL/v1/mirror\"\n\
             get \"$GUARD_API_URL/v1/renewed\"\n\
             get -L \"$GUARD_API_URL/v1/redirect\" -H 'X-To: /v1/secrets/key'\n\
             get \"$GUARD_API_URL/v1/missing?x=%zz&api_key=mine\"\n\
             get {own}\n"
        );
        let run = api.run(&script).ok();
        let text = run.text();
        for secret in ["t0ken", "YXBpX3Qwa2Vu", "mine"] {
            assert!(!text.contains(secret), "{how}: {secret} in\n{text}");
        }
        // Who gets the API's next cookie has its credential.
        assert_eq!(text.contains("session=fresh"), how.contains("query"), "{text}");
        assert!(text.contains("set-cookie: theme=light") && text.contains("location: "), "{text}");
        assert!(text.contains("client_credentials: remove"), "{text}");
        let seen = api.requests();
        // A client follows a redirect by itself, and a rule is there again.
        assert_eq!(seen.len(), 4, "{seen:?}");
        for request in &seen {
            let (target, headers) = (request["target"].to_string(), request["headers"].to_string());
            let shown = format!("{target} {headers}").replace("%5F", "_");
            let sent = TOKEN.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
            let wanted = match how.contains("query") {
                true => format!("api_key={}", sent.replace('_', "%5F")).replace("%5F", "_"),
                false => format!("session={TOKEN}"),
            };
            assert_eq!(shown.matches(&wanted).count(), 1, "{wanted} in {shown}");
            assert!(!headers.contains("authorization"), "{headers}");
        }
        assert!(seen[0]["headers"].to_string().contains("theme=dark"));
        let record = api.record();
        for secret in ["t0ken", "api_key=", "mine"] {
            assert!(!record.contains(secret) || how.contains("cookie"), "{secret} in {record}");
        }
        assert!(!record.contains("t0ken") && record.contains("/v1/echo?x=1"), "{record}");

        let removes = format!("{POLICY}client_credentials: remove\n");
        let api = Api::with(&removes, how, |it| it);
        let text = api.run(&format!("get {own}\n")).ok().text();
        assert!(text.contains("HTTP/1.1 200") && !text.contains("mine"), "{text}");
        let seen = api.requests();
        assert!(seen.len() == 1 && !seen[0].to_string().contains("mine"), "{seen:?}");
        assert!(!api.record().contains("mine"));
    }
}

#![allow(clippy::unwrap_used, reason = "tests")]

use guard_core::{AWS_PLACEHOLDER, AwsService};

use super::*;
use crate::http::target::{Authority, Scheme, Served};

fn target(text: &str) -> Target {
    let host = Authority::read(b"localhost", Scheme::Http).unwrap();
    let served = Served { scheme: Scheme::Http, authorities: &[host] };
    Target::read(text.as_bytes(), &[b"localhost"], served).unwrap()
}

fn fields(headers: &[(&str, &str)]) -> Vec<Field> {
    let field = |(name, value): &(&str, &str)| Field::read(name, value.as_bytes()).unwrap();
    headers.iter().map(field).collect()
}

fn shown(target: &Target, fields: &[Field]) -> String {
    let mut text = target.forwarded();
    for field in fields {
        text.push_str(&format!(" {}: {}", field.name, String::from_utf8_lossy(field.bytes())));
    }
    text
}

fn s3() -> SendAs {
    SendAs::AwsSigv4(AwsService { service: "s3".into(), region: "eu-central-1".into() })
}

fn lent(password: &str) -> Arc<Credential> {
    Arc::new(Credential {
        username: "ASIAKEY".into(),
        password: Secret::new(password),
        session_token: Some(Secret::new("the-token-of-the-session")),
    })
}

#[test]
fn what_a_client_sends_in_its_place_is_taken_out_however_it_is_written() {
    let query = || SendAs::Query("api_key".into());
    let cookie = || SendAs::Cookie("session".into());
    let none: &[(&str, &str)] = &[];
    for (send_as, sent, headers, found, left) in [
        (SendAs::Bearer, "/a", &[("authorization", "x")][..], true, "/a"),
        (SendAs::Header("X-Api-Key".into()), "/a", &[("x_api_key", "x")], true, "/a"),
        (query(), "/a?b=1&api_key=mine", none, true, "/a?b=1"),
        (query(), "/a?API-KEY=mine&c", none, true, "/a?c"),
        (query(), "/a?api%5Fkey=mine", none, true, "/a"),
        (query(), "/a?api.key%5B%5D=mine&api_keys=1", none, true, "/a?api_keys=1"),
        (query(), "/a?api_key", none, true, "/a"),
        (query(), "/a?b=api_key", &[("authorization", "x")], true, "/a?b=api_key"),
        (query(), "/a?b=api_key", none, false, "/a?b=api_key"),
        (
            cookie(),
            "/a?session=1",
            &[("cookie", "a=1; session=mine; b=2")],
            true,
            "/a?session=1 cookie: a=1; b=2",
        ),
        (cookie(), "/a", &[("cookie", "Session=mine"), ("cookie", "a=1")], true, "/a cookie: a=1"),
        (cookie(), "/a", &[("cookie", "a=1, session=mine")], true, "/a"),
        (cookie(), "/a", &[("cookie", "%73ession=mine")], true, "/a"),
        (cookie(), "/a", &[("cookie", "sessions=1")], false, "/a cookie: sessions=1"),
        (
            SendAs::Certificate,
            "/a",
            &[("authorization", "x"), ("accept", "*/*")],
            true,
            "/a accept: */*",
        ),
        (s3(), "/a?list-type=2&X-Amz-Signature=0&x-amz-credential=1", none, true, "/a?list-type=2"),
        (s3(), "/a?AWSAccessKeyId=1&Signature=2", none, true, "/a"),
        (
            s3(),
            "/a",
            &[("x-amz-security-token", "t"), ("x-amz-acl", "private")],
            true,
            "/a x-amz-acl: private",
        ),
        (s3(), "/a", &[("authorization", "AWS4-HMAC-SHA256 Credential=AKIAOTHER/")], true, "/a"),
    ] {
        let credentials = Credentials::new(send_as, true);
        let (mut target, mut fields) = (target(sent), fields(headers));
        let own = credentials.take_out(&mut target, &mut fields);
        assert_eq!(own.is_some(), found, "{sent} {headers:?}: {own:?}");
        assert_eq!(shown(&target, &fields), left, "{sent} {headers:?}");
    }
}

#[test]
fn who_signs_with_the_placeholder_has_no_credential_and_nothing_else_passes_by_it() {
    let signed =
        format!("AWS4-HMAC-SHA256 Credential={AWS_PLACEHOLDER}/20260101/eu/s3/aws4_request, x");
    for (sent, more, found) in [
        ("/a", None, false),
        ("/a", Some(("x-amz-date", "20260101T000000Z")), false),
        ("/a", Some(("x-amz-security-token", "mine")), true),
        ("/a", Some(("authorization", "Bearer mine")), true),
        ("/a?X-Amz-Signature=0", None, true),
    ] {
        let credentials = Credentials::new(s3(), true);
        let mut headers = vec![("authorization", signed.as_str())];
        headers.extend(more);
        let (mut target, mut fields) = (target(sent), fields(&headers));
        let own = credentials.take_out(&mut target, &mut fields);
        assert_eq!(own.is_some(), found, "{sent} {more:?}: {own:?}");
        assert_eq!(shown(&target, &fields), "/a");
    }
}

#[test]
fn it_is_put_in_once_and_hidden() {
    let secret = "s3cret/of&the=shop";
    for (send_as, sent, headers, expected) in [
        (SendAs::Query("key".into()), "/a", &[][..], "/a?key=s3cret%2Fof%26the%3Dshop"),
        (SendAs::Query("key".into()), "/a?b=1&KEY=2", &[], "/a?b=1&key=s3cret%2Fof%26the%3Dshop"),
        (
            SendAs::Cookie("id".into()),
            "/a",
            &[("cookie", "a=1")],
            "/a cookie: a=1; id=s3cret/of&the=shop",
        ),
        (SendAs::Header("X-Key".into()), "/a", &[], "/a x-key: s3cret/of&the=shop"),
        (SendAs::Certificate, "/a", &[], "/a"),
    ] {
        let credentials = Credentials::new(send_as, true);
        let (mut target, mut fields) = (target(sent), fields(headers));
        let it = credentials.shown(&lent(secret));
        it.put(&mut target, &mut fields).unwrap();
        assert_eq!(shown(&target, &fields), expected);
        let hidden = it.hidden.in_whole(expected.as_bytes());
        let hidden = String::from_utf8(hidden.into_owned()).unwrap();
        assert!(!hidden.contains("s3cret"), "{hidden}");
    }
    let credentials = Credentials::new(SendAs::Cookie("id".into()), true);
    for wrong in ["a;b", "a b", "a\"b", "a,b"] {
        let it = credentials.shown(&lent(wrong));
        assert!(it.put(&mut target("/a"), &mut Vec::new()).is_err(), "{wrong}");
    }
    let key = Credential { session_token: None, ..Credential::clone(&lent(secret)) };
    let it = Credentials::new(s3(), true).shown(&Arc::new(key));
    assert!(it.put(&mut target("/a"), &mut Vec::new()).is_err());
}

#[test]
fn an_api_that_renews_its_cookie_gives_it_to_nobody() {
    let credentials = Credentials::new(SendAs::Cookie("session".into()), true);
    for (name, value, given) in [
        ("set-cookie", "session=new; Path=/; HttpOnly", true),
        ("set-cookie", " SESSION =new", true),
        ("set-cookie", "theme=dark; session=x", false),
        ("x-cookie", "session=new", false),
    ] {
        let [field] = fields(&[(name, value)]).try_into().unwrap();
        assert_eq!(credentials.is_given(&field), given, "{value}");
    }
}

#[test]
fn what_the_record_has_of_a_target_that_was_not_read_is_no_credential() {
    let recorded = |send_as: SendAs, target: &str| {
        Credentials::new(send_as, true).recorded(target.as_bytes()).into_owned()
    };
    assert_eq!(recorded(SendAs::Query("key".into()), "/a;b?key=mine"), "/a;b?…");
    assert_eq!(recorded(s3(), "/a?X-Amz-Signature=1"), "/a?…");
    assert_eq!(recorded(SendAs::Bearer, "/a?b=1"), "/a?b=1");
}

#[test]
fn a_body_is_signed_by_the_word_of_its_client_where_the_service_compares_it() {
    let other = SendAs::AwsSigv4(AwsService { service: "sts".into(), region: "r".into() });
    let digest = "a".repeat(64);
    let says = |value: &str| fields(&[("x-amz-content-sha256", value)]);
    for (send_as, tls, fields, expected) in [
        (s3(), true, Vec::new(), Some(false)),
        (s3(), false, Vec::new(), Some(true)),
        (s3(), false, says(&digest), Some(false)),
        (s3(), true, says("UNSIGNED-PAYLOAD"), Some(false)),
        (s3(), false, says("UNSIGNED-PAYLOAD"), Some(true)),
        (s3(), true, says("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), Some(false)),
        (s3(), true, says("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), None),
        (s3(), true, says("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), None),
        (s3(), true, says("nonsense"), None),
        (s3(), true, [says(&digest), says(&digest)].concat(), None),
        (other, true, says(&digest), Some(true)),
        (SendAs::Bearer, true, Vec::new(), Some(false)),
    ] {
        let needs = Credentials::new(send_as, tls).needs_body(&fields);
        assert_eq!(needs.ok(), expected, "{tls} {fields:?}");
    }
}

#[test]
fn a_signature_is_over_the_host_and_all_of_the_services_own() {
    let credentials = Credentials::new(s3(), true);
    let mut request = Request::new(());
    *request.uri_mut() = "/orders/a+b?list-type=2".parse().unwrap();
    for (name, value) in [("host", "s3.example"), ("x-amz-acl", "private"), ("user-agent", "x")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let it = credentials.shown(&lent("the-secret-key")).sign(&mut request, None).unwrap();
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
    assert_eq!(header("x-amz-security-token"), "the-token-of-the-session");
    let signed = header("authorization");
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=ASIAKEY/"), "{signed}");
    let names = "SignedHeaders=host;x-amz-acl;x-amz-content-sha256;x-amz-date;x-amz-security-token";
    assert!(signed.contains(names), "{signed}");
    // Who reads an echo of it could send the same request again.
    let said = format!("{signed} {}", header("x-amz-security-token"));
    let hidden = String::from_utf8(it.hidden.in_whole(said.as_bytes()).into_owned()).unwrap();
    let (_, signature) = signed.split_once("Signature=").unwrap();
    assert!(!hidden.contains(signature) && !hidden.contains("of-the-session"), "{hidden}");
}

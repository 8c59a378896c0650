//! An API that clients call by its own name: the proxy of the run opens TLS for it.

use std::process::Command;

use guard_tests::{EnforceAt, Finished, finish, script};

use crate::api::{Api, POLICY, TOKEN};

const LEVELS: [&str; 2] = ["landlock", "strict"];

/// Runs a command under guard at a level; its script has the API's address as `$API`.
fn run(api: &Api, level: &str, mut command: Command) -> Finished {
    command.env("API", &api.url);
    // What this machine has of its own.
    for name in ["SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy"] {
        command.env_remove(name);
    }
    let mut guard = api.stage.guard(&command);
    guard.env("GUARD_ISOLATION", level);
    finish(&mut guard).unwrap()
}

#[test]
fn clients_that_know_nothing_of_guard_call_it_by_its_name() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let api = Api::with_tls(POLICY, |stage| stage.enforce_at(place));
        for level in LEVELS {
            let text = "\
                curl -sS -i \"$API/v1/echo?by=curl\"; echo\n\
                curl -sS -i \"$API/v1/secrets/key\"; echo\n\
                python3 -c 'import os, urllib.request; \
                print(urllib.request.urlopen(os.environ[\"API\"] + \"/v1/echo?by=python\").read().decode())'\n\
                env; cat \"$SSL_CERT_FILE\" \"$NODE_EXTRA_CA_CERTS\"";
            let text = run(&api, level, script(text)).ok().text();
            for part in ["by=curl", "by=python", "HTTP/2 403", "secrets stay where they are"] {
                assert!(text.contains(part), "{level}: no `{part}` in\n{text}");
            }
            assert!(!text.contains(TOKEN) && !text.contains("PRIVATE"), "{level}: {text}");
        }
        let seen = api.seen();
        assert_eq!(seen, ["GET /v1/echo?by=curl", "GET /v1/echo?by=python"].repeat(2));
        let bearer = format!("Bearer {TOKEN}");
        assert!(api.requests().iter().all(|it| it["headers"].to_string().contains(&bearer)));
    }
}

/// Asks the proxy for a place, and speaks TLS for a name in it. Prints the proxy's status, or what came of TLS.
const ASK: &str = "
import base64, os, socket, ssl, sys, urllib.parse
proxy = urllib.parse.urlsplit(os.environ['HTTPS_PROXY'])
place, name, password = sys.argv[1:]
place = place.replace('API', urllib.parse.urlsplit(os.environ['API']).netloc)
s = socket.create_connection((proxy.hostname, proxy.port), 60)
shown = base64.b64encode(f'guard:{password or proxy.password}'.encode()).decode()
s.sendall(f'CONNECT {place} HTTP/1.1\\r\\nHost: {place}\\r\\nProxy-Authorization: Basic {shown}\\r\\n\\r\\n'.encode())
said = s.recv(65536).decode()
print(said.split('\\r\\n')[0])
if ' 200 ' in said and name:
    context = ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE'])
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        t = context.wrap_socket(s, server_hostname=name)
        t.sendall(f'GET /v1/echo HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n'.encode())
        print(t.recv(65536).decode().split('\\r\\n')[0])
    except OSError as error:
        print('no TLS')
";

#[test]
fn fail_closed_what_is_no_api_of_the_run_is_not_reached_by_its_proxy() {
    let api = Api::with_tls(POLICY, |stage| stage);
    let ask = |place: &str, name: &str, password: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", ASK, place, name, password]);
        run(&api, "landlock", command)
    };
    for (place, name, password, expected) in [
        ("API", "", "wrong", "HTTP/1.1 407 Proxy Authentication Required"),
        ("127.0.0.2:1", "", "", "HTTP/1.1 403 Forbidden"),
        ("example.com:443", "", "", "HTTP/1.1 403 Forbidden"),
        ("169.254.169.254:80", "", "", "HTTP/1.1 403 Forbidden"),
        ("API", "elsewhere.example", "", "HTTP/1.1 200 Connection established\nno TLS"),
    ] {
        let asked = ask(place, name, password).ok();
        assert_eq!(asked.text(), expected, "{place} {name}: {}", asked.stderr);
    }
    let asked = ask("API", "127.0.0.2", "").ok();
    // Its own name without its port is another server's.
    assert!(asked.text().ends_with("HTTP/1.1 400 Bad Request"), "{}", asked.text());
    assert_eq!(api.seen(), [""; 0]);
}

#[test]
fn where_the_network_is_the_machines_nothing_is_turned_round() {
    let api = Api::with_tls(POLICY, |stage| stage);
    let text = "env; curl -sS -o /dev/null \"$GUARD_API_URL/v1/echo\"";
    let run = run(&api, "env", script(text)).ok();
    let text = run.text();
    assert!(!text.contains("HTTPS_PROXY=http://guard") && !text.contains("/all.pem"), "{text}");
    assert!(text.contains("GUARD_API_URL=http://127.0.0.1:"), "{text}");
    assert_eq!(api.seen(), ["GET /v1/echo"]);
}

//! Clients that jobs have, through both ways in: the base address, and an API's own name. nginx is the API, with a git server behind it, and a
//! stand-in is GitHub.

use std::{fs, net::UdpSocket, path::Path, process::Command};

use guard_tests::{
    Stage, finish,
    process::{Process, free_port},
    python_program, runners_node, script,
};
use tempfile::TempDir;

use crate::{
    api::TOKEN,
    servers::{ADDRESS, Server, certificate_for, openssl, said},
};

const POLICY: &str = "\
policy: stage
rules:
  - name: read
    http: { effects: [read], paths: [/v1/**, '/git/**', '/api/v3/repos/acme/shop/**'] }
    decide: allow
  - name: fetch
    http: { methods: [POST], paths: ['/git/{repository}/git-upload-pack'] }
    decide: allow
  - name: push
    http: { methods: [POST], paths: [/git/shop.git/git-receive-pack, /api/v3/repos/acme/shop/releases] }
    decide: allow
client_credentials: remove
";

/// What a job does with the API at `$B`.
const JOB: &str = r#"
set -e
cd "$(mktemp -d)"
export HOME="$PWD" GIT_TERMINAL_PROMPT=0
git config --global user.name job && git config --global user.email job@shop.example
curl -sS "$B/v1/hello?by=curl"
"$PYTHON" - "$B" <<'END'
import sys, httpx, requests
print(requests.get(sys.argv[1] + "/v1/hello?by=requests", timeout=60).text)
print(httpx.get(sys.argv[1] + "/v1/hello?by=httpx", timeout=60).text)
END
"$NODE" -e 'fetch(process.argv[1] + "/v1/hello?by=node").then((it) => it.text()).then(console.log)' "$B"
for name in shop locked; do
    git clone -q "$B/git/$name.git" "$name"
    cd "$name"
    echo "by $B" >> file
    git commit -q -a -m "by $BY"
    git push -q origin HEAD 2> error && echo "pushed $name" || { echo "not pushed $name"; cat error; }
    cd ..
done
"#;

const JAVA: &str = r#"
import java.net.*;
import java.net.http.*;
class Hello {
    public static void main(String[] arguments) throws Exception {
        var at = URI.create(arguments[0] + "/v1/hello?by=java");
        var request = HttpRequest.newBuilder(at).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
        var older = URI.create(arguments[0] + "/v1/hello?by=older-java").toURL().openConnection();
        System.out.println(new String(older.getInputStream().readAllBytes()));
    }
}
"#;

/// An address that is this machine's and none of loopback, which Go's clients leave out of their proxy; if it has one.
fn own_address() -> String {
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // Nothing is sent: the kernel says from where it would be.
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let own = own.map(|at| at.ip()).ok().filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
    own.map_or_else(|| ADDRESS.to_owned(), |ip| ip.to_string())
}

/// nginx with TLS at an address: it answers who shows the token, and has a git server behind it.
fn nginx(dir: &Path, at: &str, certificate: &(String, String), git: &str) -> Process {
    let shown = dir.display();
    let (pem, key) = certificate;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {shown}/{name};\n"))
        .concat();
    let config = format!(
        "daemon off; worker_processes 1; pid {shown}/nginx.pid; error_log {shown}/error.log;\n\
         events {{}}\n\
         http {{ access_log {shown}/access.log;\n{temporary}\
         server {{ listen {at} ssl; ssl_certificate {pem}; ssl_certificate_key {key};\n\
         client_max_body_size 0;\n\
         if ($http_authorization != \"Bearer {TOKEN}\") {{ return 401; }}\n\
         location /v1/ {{ default_type application/json; return 200 '{{\"by\": \"$arg_by\"}}\\n'; }}\n\
         location /git/ {{ proxy_pass http://127.0.0.1:{git}; }} }} }}\n"
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(Path::new);
    let program = program.into_iter().find(|file| file.is_file()).expect("nginx is not installed");
    let mut command = Command::new(program);
    command.args(["-e", "stderr", "-p"]).arg(dir).arg("-c").arg(&file);
    let mut nginx = Process::start("nginx", &mut command, &dir.join("nginx.log")).unwrap();
    nginx.wait_until("nginx", || std::net::TcpStream::connect(at).is_ok()).unwrap();
    nginx
}

/// Two repositories with a commit each.
fn repositories(dir: &Path) {
    let text = "set -e; cd \"$1\"; export HOME=\"$1\" GIT_CONFIG_NOSYSTEM=1\n\
        git config --global user.name shop; git config --global user.email shop@shop.example\n\
        git config --global init.defaultBranch main\n\
        git init -q work; cd work; echo first > file; git add file; git commit -q -m first; cd ..\n\
        for name in shop locked; do git clone -q --bare work $name.git; done";
    let made = Command::new("sh").args(["-c", text, "sh"]).arg(dir).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn log(dir: &Path, repository: &str) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(dir.join(repository)).args([
        "-c",
        "safe.directory=*",
        "log",
        "--format=%s",
        "main",
    ]);
    String::from_utf8(git.output().unwrap().stdout).unwrap()
}

#[test]
fn clients_of_all_kinds_work_by_address_and_by_name() {
    let dir: TempDir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let address = own_address();
    repositories(dir.path());
    let git = Server::start("git.py", &[&dir.path().display().to_string()]);
    let (app, public) = (file("app.pem"), file("app.pub"));
    openssl(&["genrsa", "-out", &app, "2048"]);
    openssl(&["rsa", "-in", &app, "-pubout", "-out", &public]);
    let own = certificate_for(dir.path(), "api", &address);
    let github = Server::start("github.py", &[&public, &address, &own.0, &own.1]);
    let hub = format!("{address}:{}", github.ports[1]);
    let at = format!("{address}:{}", free_port().unwrap());
    let _nginx = nginx(dir.path(), &at, &own, &git.ports[0]);
    let stage = Stage::builder()
        .policy(POLICY)
        .api(&format!("https://{at}"), &format!("tls_ca: {}", own.0), TOKEN)
        .file("app", &fs::read_to_string(&app).unwrap())
        .resource(
            "hub",
            &format!(
                "url: https://{hub}\n    tls_ca: {}\n    credential: {{ github_app: {{ api: \"http://127.0.0.1:{}\", \
                 app_id: 4711, private_key: {{ file: app }}, installation: 7, repositories: [shop], \
                 permissions: {{ contents: write }} }} }}",
                own.0, github.ports[0]
            ),
        )
        .start()
        .unwrap();
    fs::write(file("Hello.java"), JAVA).unwrap();
    let job = |by: &str, base: &str, more: &str, level: &str| {
        let mut command = script(&format!("BY={by}\nB={base}\nexport BY B\n{JOB}{more}"));
        command.env("PYTHON", std::path::absolute(python_program("python").unwrap()).unwrap());
        command.env("NODE", runners_node().unwrap().join("node"));
        command.env("GH_HOST", &hub).env("GH_ENTERPRISE_TOKEN", "a-token-of-nobody");
        for name in ["SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy", "GIT_SSL_CAINFO"] {
            command.env_remove(name);
        }
        let mut guard = stage.guard(&command);
        let run = finish(guard.env("GUARD_ISOLATION", level)).unwrap().ok();
        let text = said(&run);
        for by in ["curl", "requests", "httpx", "node"] {
            assert!(text.contains(&format!("{{\"by\": \"{by}\"}}")), "no `{by}` in\n{text}");
        }
        assert!(text.contains("\npushed shop\nnot pushed locked\n"), "{text}");
        assert!(text.contains("403") && !text.contains("t0ken"), "{text}");
        text
    };
    let java = format!("java -XX:TieredStopAtLevel=1 {}", file("Hello.java"));
    let more = format!("{java} \"$B\"; wrk -t 1 -c 4 -d 1 \"$B/v1/hello?by=wrk\"");
    let text = job("address", "\"$GUARD_API_URL\"", &more, "env");
    assert!(text.contains("{\"by\": \"java\"}"), "{text}");
    let (answered, refused) = (text.contains("requests in 1."), text.contains("Non-2xx"));
    assert!(answered && !refused, "{text}");
    // Go asks no proxy for what is on loopback.
    let gh = "gh api repos/acme/shop/releases -f tag_name=by-gh >/dev/null && gh api repos/acme/shop/releases --jq '.[].tag_name'";
    let gh = if address == ADDRESS { "echo by-gh" } else { gh };
    let more = format!("{java} \"$B\"; {gh}");
    let text = job("name", &format!("https://{at}"), &more, "landlock");
    assert!(text.contains("{\"by\": \"java\"}"), "{text}");
    assert!(text.contains("{\"by\": \"older-java\"}"), "{text}");
    assert!(text.contains("\nby-gh\n"), "{text}");

    assert_eq!(log(dir.path(), "shop.git"), "by name\nby address\nfirst\n");
    assert_eq!(log(dir.path(), "locked.git"), "first\n");
    let bearer = format!("Bearer {TOKEN}");
    assert!(git.seen().iter().all(|it| it["by"] == bearer), "{:?}", git.seen());
    let access = fs::read_to_string(dir.path().join("access.log")).unwrap();
    assert!(!access.contains("\" 401 "), "{access}");
    assert!(!github.seen().iter().any(|it| it["token"] == "a-token-of-nobody"));
}

//! Credentials of Vault: what a lease gets, that it lasts as long as its session, and that nothing is left of it. The server is
//! a stand-in, see `fake_vault`.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use guard_tests::fake_vault::{self, FakeVault};
use serde_json::{Value, json};

use super::stage::{On, Shim, Stage, on_both_stores};

on_both_stores!(
    a_lease_of_vaults_is_renewed_while_the_session_lives,
    a_vault_that_is_away_at_the_end_is_asked_until_it_is_back,
    what_vault_made_before_the_broker_died_is_found_by_the_tokens_accessor,
);

const DATABASE: &str = "database: { role: orders }";
const APPROLE: &str = "approle: { role_id: role-of-the-broker, secret_id: { file: secret-id } }";

async fn stage(vault: &FakeVault, auth: &str, secret: &str) -> Stage {
    stage_on(On::Sqlite, vault, auth, secret).await
}

async fn stage_on(on: On, vault: &FakeVault, auth: &str, secret: &str) -> Stage {
    let mut stage = Stage::on(on).await;
    let folder = stage.folder.path().to_owned();
    for (name, text) in
        [("secret-id", fake_vault::SECRET_ID), ("jwt", fake_vault::JWT), ("root", fake_vault::ROOT)]
    {
        std::fs::write(folder.join(name), format!("{text}\n")).unwrap();
    }
    let config = std::fs::read_to_string(folder.join("guard.yaml")).unwrap();
    let credential =
        format!("vault: {{ address: \"{}\", auth: {{ {auth} }}, {secret} }}", vault.url);
    let config = config.replace("username: app, password: { file: password }", &credential);
    std::fs::write(folder.join("guard.yaml"), config).unwrap();
    stage.restart().await;
    stage
}

async fn lease(stage: &Stage, shim: &Shim) -> (StatusCode, Value) {
    let near = json!({ "session": shim.id, "resource": "near" });
    stage.as_shim(shim, Method::POST, "/v1/leases", &near).await
}

async fn end(stage: &Stage, shim: &Shim) -> Value {
    let end = json!({ "exit_code": 0 });
    let (status, ended) = stage.as_shim(shim, Method::POST, "/v1/session/end", &end).await;
    assert_eq!(status, StatusCode::OK, "{ended}");
    ended
}

async fn until(stage: &Stage, what: &str, mut so: impl AsyncFnMut() -> bool) {
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !so().await {
            stage.app.sessions.look(1).await.unwrap();
            pause.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect(what);
}

#[tokio::test]
async fn each_way_to_log_in_gives_a_user_that_is_gone_with_the_session() {
    for auth in [
        APPROLE,
        "jwt: { role: guard, jwt: { file: jwt } }",
        "kubernetes: { role: guard, jwt: { file: jwt } }",
        "token: { file: root }",
    ] {
        let vault = FakeVault::start(3600, 7200).unwrap();
        let stage = stage(&vault, auth, DATABASE).await;
        let shim = stage.session().await;
        let (status, answer) = lease(&stage, &shim).await;
        assert_eq!(status, StatusCode::OK, "{auth}: {answer}");
        assert_eq!(vault.users(), [answer["username"].as_str().unwrap()], "{auth}");
        let ended = end(&stage, &shim).await;
        assert_eq!(ended["unreleased"], json!({}), "{auth}");
        assert_eq!((vault.users().len(), vault.tokens()), (0, 0), "{auth}");
        let record = stage.text(&shim).await;
        assert!(record.contains("v-guard-orders") && !record.contains("in-the-vault"), "{auth}");
    }
}

#[tokio::test]
async fn a_wrong_secret_gives_nothing_and_is_not_told() {
    let vault = FakeVault::start(3600, 7200).unwrap();
    let stage = stage(&vault, APPROLE, DATABASE).await;
    std::fs::write(stage.folder.path().join("secret-id"), "wrong").unwrap();
    let shim = stage.session().await;
    let (status, answer) = lease(&stage, &shim).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["message"], "the credential cannot be had");
    assert_eq!(vault.users().len(), 0);
}

async fn a_lease_of_vaults_is_renewed_while_the_session_lives(on: On) {
    let vault = FakeVault::start(60, 7200).unwrap();
    let stage = stage_on(on, &vault, APPROLE, DATABASE).await;
    let shim = stage.session().await;
    let (status, answer) = lease(&stage, &shim).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let store = &stage.app.sessions.store;
    let id = shim.id.parse().unwrap();
    let out = store.leases(id).await.unwrap().remove(0);
    stage.app.sessions.look(1).await.unwrap();
    assert_eq!(vault.renewals(), 0);
    store.age_lease_for_test(out.id, Duration::from_secs(45)).await;
    until(&stage, "a renewal", async || vault.renewals() == 1).await;
    until(&stage, "a later end", async || store.leases(id).await.unwrap()[0].until > out.until)
        .await;
    end(&stage, &shim).await;
    assert_eq!((vault.users().len(), vault.tokens()), (0, 0));
}

async fn a_vault_that_is_away_at_the_end_is_asked_until_it_is_back(on: On) {
    let vault = FakeVault::start(3600, 7200).unwrap();
    let mut stage = stage_on(on, &vault, APPROLE, DATABASE).await;
    let shim = stage.session().await;
    assert_eq!(lease(&stage, &shim).await.0, StatusCode::OK);
    vault.seal(true);
    let ended = end(&stage, &shim).await;
    assert!(ended["unreleased"].to_string().contains("Vault is sealed"), "{ended}");
    assert!(stage.text(&shim).await.contains("Vault is sealed"));
    // Also after a restart of the broker.
    stage.restart().await;
    assert_eq!(vault.users().len(), 1);
    vault.seal(false);
    let store = stage.app.sessions.store.clone();
    let lease = store.leases(shim.id.parse().unwrap()).await.unwrap().remove(0);
    store.age_lease_for_test(lease.id, Duration::from_secs(600)).await;
    // Guard's own tokens go last.
    until(&stage, "it is taken back", async || vault.users().is_empty() && vault.tokens() == 0)
        .await;
}

async fn what_vault_made_before_the_broker_died_is_found_by_the_tokens_accessor(on: On) {
    let vault = FakeVault::start(3600, 7200).unwrap();
    let stage = stage_on(on, &vault, APPROLE, DATABASE).await;
    let shim = stage.session().await;
    assert_eq!(lease(&stage, &shim).await.0, StatusCode::OK);
    let store = &stage.app.sessions.store;
    let id = shim.id.parse().unwrap();
    let mut out = store.leases(id).await.unwrap().remove(0);
    // As it is stored before Vault is asked for a user: without Vault's lease.
    let crate::credentials::Handle::Vault(handle) = &mut out.handle else { panic!("{out:?}") };
    assert!(handle.accessor.is_some() && handle.lease.take().is_some());
    store.as_never_handed_out_for_test(out.id).await;
    assert!(store.note_handle(out.id, &out.handle).await.unwrap());
    store.age_lease_for_test(out.id, Duration::from_secs(50)).await;
    until(&stage, "it is taken back", async || store.leases(id).await.unwrap().is_empty()).await;
    assert_eq!((vault.users().len(), vault.tokens()), (0, 0));
}

#[tokio::test]
async fn a_secret_of_the_key_value_engine_is_read_with_a_token_that_is_given_back() {
    let vault = FakeVault::start(3600, 7200).unwrap();
    let stage = stage(&vault, APPROLE, "kv: { path: db/orders, username: user }").await;
    let shim = stage.session().await;
    let (status, answer) = lease(&stage, &shim).await;
    assert_eq!((status, &answer["username"]), (StatusCode::OK, &json!("app")), "{answer}");
    assert_eq!(answer["password"], fake_vault::KV_PASSWORD);
    assert_eq!(vault.tokens(), 0);
    assert_eq!(end(&stage, &shim).await["unreleased"], json!({}));
    assert!(vault.paths().contains(&"auth/token/revoke-self".to_owned()));
}

/// Speaks TLS with a certificate for this machine before a plain server. Gives its address and the certificate.
async fn over_tls(plain: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = plain.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, plain) = (acceptor.clone(), plain.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut server = tokio::net::TcpStream::connect(plain).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    (format!("https://localhost:{port}"), made.cert.pem())
}

#[tokio::test]
async fn a_vault_is_spoken_to_by_the_authorities_that_are_named_and_a_stranger_gets_no_secret() {
    let vault = FakeVault::start(3600, 7200).unwrap();
    let mut stage = stage(&vault, APPROLE, DATABASE).await;
    let (url, pem) = over_tls(&vault.url).await;
    let file = stage.folder.path().join("guard.yaml");
    let plain = std::fs::read_to_string(&file).unwrap();
    // By the system's authorities it is a stranger.
    let config = plain.replace(&vault.url, &url);
    std::fs::write(&file, &config).unwrap();
    stage.restart().await;
    let shim = stage.session().await;
    assert_eq!(lease(&stage, &shim).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(vault.paths().len(), 0, "nothing was said to it");

    std::fs::write(stage.folder.path().join("vault-ca.pem"), pem).unwrap();
    let address = format!("address: \"{url}\",");
    let config = config.replace(&address, &format!("{address} tls_ca: vault-ca.pem,"));
    std::fs::write(&file, config).unwrap();
    stage.restart().await;
    let shim = stage.session().await;
    let (status, answer) = lease(&stage, &shim).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    end(&stage, &shim).await;
    assert_eq!((vault.users().len(), vault.tokens()), (0, 0));
}

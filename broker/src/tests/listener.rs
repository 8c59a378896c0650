//! The broker's own TLS.

use std::{path::PathBuf, sync::Arc};

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::stage::Stage;
use crate::{
    api,
    config::TlsFiles,
    reload::Reload,
    server::{self, Tls},
};

const ASK: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// A certificate for `localhost` with its key, in files.
fn certificate(stage: &Stage, name: &str) -> (TlsFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |end: &str| -> PathBuf { stage.folder.path().join(format!("{name}.{end}")) };
    let files = TlsFiles { cert: file("crt"), key: file("key") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().clone())
}

fn trusting(authority: &CertificateDer<'static>) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A broker that listens with a certificate, until this is dropped.
struct Listening {
    address: std::net::SocketAddr,
    tls: Arc<Tls>,
    _stop: tokio_util::sync::DropGuard,
}

async fn listen(stage: &Stage, files: &TlsFiles) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let router = api::router(stage.app.clone());
    let tls = Arc::new(Tls::open(files).unwrap());
    let (app, token, shown) = (stage.app.clone(), stop.clone(), tls.clone());
    tokio::spawn(async move {
        server::serve(listener, Some(shown), router, &app.sessions.metrics, token).await;
    });
    Listening { address, tls, _stop: stop.drop_guard() }
}

#[tokio::test]
async fn the_broker_answers_over_its_own_tls_and_not_beside_it() {
    let stage = Stage::new().await;
    let (files, authority) = certificate(&stage, "own");
    let listening = listen(&stage, &files).await;
    let address = listening.address;
    let name = ServerName::try_from("localhost").unwrap();

    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = trusting(&authority).connect(name.clone(), stream).await.unwrap();
    stream.write_all(ASK).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    // A client that trusts another authority does not say a word.
    let (_, other) = certificate(&stage, "other");
    let stream = TcpStream::connect(address).await.unwrap();
    assert!(trusting(&other).connect(name, stream).await.is_err());

    // Plain HTTP to the same port is not answered.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(ASK).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_key_of_another_certificate_and_files_that_are_none_keep_the_broker_from_starting() {
    let stage = Stage::new().await;
    let (own, _) = certificate(&stage, "own");
    let (other, _) = certificate(&stage, "other");
    let nonsense = stage.folder.path().join("password");
    for (name, cert, key) in [
        ("a key of another certificate", &own.cert, &other.key),
        ("no certificate", &nonsense, &own.key),
        ("no key", &own.cert, &nonsense),
    ] {
        let files = TlsFiles { cert: cert.clone(), key: key.clone() };
        let error = Tls::open(&files).expect_err(name).to_string();
        assert!(error.contains(&*stage.folder.path().to_string_lossy()), "{name}: {error}");
        assert!(!error.contains("secret-of-the-database"), "{name}: {error}");
    }
}

/// The certificate that a new connection sees.
async fn seen(listening: &Listening, authorities: &[&CertificateDer<'static>]) -> usize {
    for (number, authority) in authorities.iter().enumerate() {
        let stream = TcpStream::connect(listening.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        if trusting(authority).connect(name, stream).await.is_ok() {
            return number;
        }
    }
    panic!("no certificate fits");
}

#[tokio::test]
async fn new_connections_see_a_renewed_certificate_and_never_half_of_one() {
    let stage = Stage::new().await;
    let (files, old) = certificate(&stage, "own");
    let (renewed, new) = certificate(&stage, "renewed");
    let listening = listen(&stage, &files).await;
    let mut reload = Reload::new(stage.app.sessions.clone(), Some(listening.tls.clone()), None);
    let stream = TcpStream::connect(listening.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut open = trusting(&old).connect(name, stream).await.unwrap();

    // The certificate is there and its key is not yet.
    std::fs::copy(&renewed.cert, &files.cert).unwrap();
    reload.look().await;
    assert_eq!(seen(&listening, &[&old, &new]).await, 0);
    std::fs::copy(&renewed.key, &files.key).unwrap();
    reload.look().await;
    assert_eq!(seen(&listening, &[&old, &new]).await, 1);

    // What is no certificate changes nothing.
    std::fs::write(&files.cert, "nonsense").unwrap();
    reload.look().await;
    reload.again().await;
    assert_eq!(seen(&listening, &[&old, &new]).await, 1);

    // A connection from before goes on.
    open.write_all(ASK).await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

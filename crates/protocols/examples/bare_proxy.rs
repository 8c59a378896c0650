//! A reverse proxy that is hyper and nothing else: it judges, records and hides nothing, and adds one header. What it costs is what a
//! data path on hyper costs before guard does anything, which is why `cargo xtask bench http` has it beside the others.
//!
//! `cargo run --release -p guard-protocols --example bare_proxy -- 127.0.0.1:8000 127.0.0.1:9000 TOKEN`

use std::{env, error::Error, io, net::TcpListener, sync::Arc, thread};

use hyper::{
    HeaderMap, Request, Response, Uri,
    body::Incoming,
    client::conn::http1::SendRequest,
    header::{AUTHORIZATION, HOST, HeaderValue},
    server,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    runtime::Builder,
    sync::{Mutex, mpsc},
};

/// As many threads as guard has on two processors.
const THREADS: usize = 2;

/// Where requests go, and with what.
struct Upstream {
    address: String,
    host: HeaderValue,
    token: HeaderValue,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut argument = |name: &str| arguments.next().ok_or_else(|| format!("{name} is missing"));
    let (listen, address) = (argument("where to listen")?, argument("where to send")?);
    let upstream = Arc::new(Upstream {
        host: HeaderValue::from_str(&address)?,
        token: HeaderValue::from_str(&format!("Bearer {}", argument("the token")?))?,
        address,
    });
    let listener = TcpListener::bind(listen)?;
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let (sender, mut clients) = mpsc::unbounded_channel::<std::net::TcpStream>();
        let upstream = upstream.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                while let Some(client) = clients.recv().await {
                    tokio::spawn(serve(client, upstream.clone()));
                }
            });
        });
        threads.push(sender);
    }
    for thread in threads.iter().cycle() {
        let (client, _) = listener.accept()?;
        client.set_nonblocking(true)?;
        client.set_nodelay(true)?;
        thread.send(client)?;
    }
    Ok(())
}

/// Serves one client over one connection of its own.
async fn serve(client: std::net::TcpStream, upstream: Arc<Upstream>) -> io::Result<()> {
    let server = TcpStream::connect(&upstream.address).await?;
    server.set_nodelay(true)?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(server));
    let (sender, connection) = handshake.await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let sender = Mutex::new(sender);
    let service = service_fn(|request| pass(request, &sender, &upstream));
    let mut builder = server::conn::http1::Builder::new();
    let client = TokioIo::new(TcpStream::from_std(client)?);
    let serving = builder.timer(TokioTimer::new()).serve_connection(client, service);
    serving.await.map_err(io::Error::other)
}

async fn pass(
    mut request: Request<Incoming>,
    sender: &Mutex<SendRequest<Incoming>>,
    upstream: &Upstream,
) -> Result<Response<Incoming>, Box<dyn Error + Send + Sync>> {
    let path = request.uri().path_and_query().cloned().ok_or("a request has no path")?;
    *request.uri_mut() = Uri::from(path);
    let headers: &mut HeaderMap = request.headers_mut();
    headers.insert(HOST, upstream.host.clone());
    headers.insert(AUTHORIZATION, upstream.token.clone());
    let mut sender = sender.lock().await;
    sender.ready().await?;
    Ok(sender.send_request(request).await?)
}

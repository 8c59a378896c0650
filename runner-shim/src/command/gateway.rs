//! `guard gateway`: serves tunnels of shims, beside the resources and outside the jobs.

use std::{
    io,
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use futures_util::FutureExt as _;
use guard_core::{
    ResourceName, Secret, Timestamp,
    control::{EnrolGateway, RegisterGateway},
};
use guard_engine::{
    TlsError,
    gateway::{Gateway, ServerCertificate, enrol, enrol_by_identity, keep_registered},
    http::{BrokerClient, BrokerUrl, InvalidBrokerUrl, Proof},
    keys::{GatewayIdentity, KeyError},
    threads::Threads,
};
use tokio::{net::TcpListener, signal::unix, sync::oneshot};

use crate::{
    sandbox,
    words::{chain, say},
};

/// Arguments of `guard gateway`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  guard gateway --identity gateway.key --print-key
  guard gateway --broker https://guard.example.com --name eu-1 --identity gateway.key \\
      --listen 0.0.0.0:8443 --advertise gateway.internal:8443

The broker's configuration names each gateway with its key, which --print-key shows; or a token of
guard-broker gateways enrol lets the key in, once; or an identity token does
(--identity-token-file), where the configuration says whose. Shims accept \
exactly the certificate that the gateway registers at the broker; without --tls-cert it makes one at its start.

Exit codes: 0 after SIGTERM or SIGINT · 1 it cannot start · 2 a wrong command line")]
pub(crate) struct Args {
    /// The broker's address
    #[arg(
        long,
        env = "GUARD_BROKER_URL",
        value_name = "URL",
        required_unless_present = "print_key"
    )]
    broker: Option<String>,
    /// This gateway's name in the broker's configuration
    #[arg(long, value_name = "NAME", required_unless_present = "print_key")]
    name: Option<ResourceName>,
    /// The file with this gateway's key; made if it does not exist
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// A file with a token of `guard-broker gateways enrol`, by which the broker learns the key; passed over
    /// when it is gone
    #[arg(long, env = "GUARD_ENROL_TOKEN_FILE", value_name = "FILE")]
    enrol_token_file: Option<PathBuf>,
    /// A file with an identity token, such as a Kubernetes service account's, where the broker's configuration
    /// says `identity` of this gateway; read again until the broker takes one
    #[arg(long, value_name = "FILE", conflicts_with = "enrol_token_file")]
    identity_token_file: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: String,
    /// Where shims reach it, as host:port; the address of --listen if left out
    #[arg(long, value_name = "ADDR")]
    advertise: Option<String>,
    /// Certificate chain to show, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Print the thumbprint of the key for the broker's configuration, and exit
    #[arg(long)]
    print_key: bool,
    /// End when standard input ends: whoever started this holds its other end and is gone then
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
enum GatewayError {
    #[error("no broker: name it with `--broker URL` or in GUARD_BROKER_URL")]
    NoBroker,
    #[error("no name: say with `--name NAME` which gateway of the broker's configuration this is")]
    NoName,
    #[error(transparent)]
    Broker(#[from] InvalidBrokerUrl),
    #[error(transparent)]
    Control(#[from] guard_engine::control::ControlError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("`{path}` cannot be read", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("`{0}` cannot be listened on")]
    Listen(String, #[source] io::Error),
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    #[error("no threads can be started")]
    Threads(#[source] io::Error),
    #[error("this process cannot be hidden from others")]
    Sandbox(#[source] io::Error),
}

/// Runs the command.
pub(crate) fn main(args: Args) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> Result<(), GatewayError> {
    sandbox::hide_memory().map_err(GatewayError::Sandbox)?;
    // The key's thumbprint is the same whatever the gateway is called.
    let name = args.name.as_ref().map_or("", ResourceName::as_str);
    let identity = GatewayIdentity::load_or_create(name, &args.identity)?;
    if args.print_key {
        // The one thing that this command has for a program to read.
        #[expect(clippy::print_stdout, reason = "the answer to --print-key")]
        {
            println!("{}", identity.thumbprint()?);
        }
        return Ok(());
    }
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = Threads::start_usual(processors).map_err(GatewayError::Threads)?;
    // For what is not of a connection.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(GatewayError::Threads)?;
    let served = runtime.block_on(serve(args, Arc::new(identity), threads));
    runtime.shutdown_background();
    served
}

async fn serve(
    args: Args,
    identity: Arc<GatewayIdentity>,
    threads: Threads,
) -> Result<(), GatewayError> {
    let certificate = match (&args.tls_cert, &args.tls_key) {
        (Some(chain), Some(key)) => {
            let read = |path: &PathBuf| {
                std::fs::read(path).map_err(|error| GatewayError::File(path.clone(), error))
            };
            ServerCertificate::from_pem(&read(chain)?, &read(key)?)?
        }
        (None, _) | (_, None) => ServerCertificate::self_signed()?,
    };
    let broker = args.broker.as_deref().ok_or(GatewayError::NoBroker)?;
    let name = args.name.as_ref().ok_or(GatewayError::NoName)?;
    let client =
        BrokerClient::new(BrokerUrl::parse(broker)?)?.with_proof(Proof::Gateway(identity.clone()));
    // An assertion that cannot be made would fail at every request: find out now.
    identity.assertion(broker, Timestamp::now())?;

    let unheard = |error| GatewayError::Listen(args.listen.clone(), error);
    let listener = TcpListener::bind(&args.listen).await.map_err(unheard)?;
    let listen = listener.local_addr().map_err(unheard)?;
    let address = args.advertise.unwrap_or_else(|| listen.to_string());
    let registration = RegisterGateway {
        address: address.clone(),
        certificate: certificate.digest,
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let mut terminate =
        unix::signal(unix::SignalKind::terminate()).map_err(GatewayError::Signals)?;
    let mut interrupt =
        unix::signal(unix::SignalKind::interrupt()).map_err(GatewayError::Signals)?;
    let abandoned = args.until_stdin_ends.then(stdin_ends).transpose()?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = ended(abandoned) => {}
        }
        tracing::info!("shutting down");
    };
    tracing::info!(%name, %listen, advertise = address,
        certificate = %certificate.digest, "listening");
    let enrolment = args.enrol_token_file.as_deref().map(enrolment).transpose()?.flatten();
    let registered = async {
        if let Some(token) = &enrolment {
            enrol(&client, token).await;
        }
        let registering = keep_registered(&client, &registration, || tracing::info!("registered"));
        match &args.identity_token_file {
            // The key may be in already, and then nothing waits for a token.
            Some(file) => drop(tokio::join!(enrol_by_identity(&client, file), registering)),
            None => registering.await,
        }
    };
    let gateway = Gateway::new(name.as_str(), address, Arc::new(client.clone()), threads);
    tokio::select! {
        () = gateway.serve(listener, &certificate, shutdown.boxed()) => {}
        () = registered => {}
    }
    Ok(())
}

/// The token in a file, if the file is there.
fn enrolment(path: &Path) -> Result<Option<EnrolGateway>, GatewayError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(EnrolGateway { token: Secret::new(text.trim()) })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(GatewayError::File(path.to_owned(), error)),
    }
}

/// Waits on a thread, which ends with the process, for the end of standard input.
fn stdin_ends() -> Result<oneshot::Receiver<()>, GatewayError> {
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        // What is written there means nothing; that it ends does, however it ends.
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        let _ = sender.send(());
    };
    std::thread::Builder::new().name("stdin".into()).spawn(wait).map_err(GatewayError::Threads)?;
    Ok(receiver)
}

async fn ended(watched: Option<oneshot::Receiver<()>>) {
    match watched {
        Some(receiver) => drop(receiver.await),
        None => std::future::pending().await,
    }
}

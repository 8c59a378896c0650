//! Where the child finds its resources: a private Unix socket and loopback TCP for each.
//!
//! The socket lives in a folder of this run that only this user can enter, and the kernel tells who
//! connects. On TCP the kernel does not tell, so a client must know a password made for this run.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use guard_core::{Secret, control::GrantInfo};
use guard_engine::{ClientAuth, ClientIo, alarm::unless, threads::Threads};
use rand::{TryRngCore as _, rngs::OsRng};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::route::Route;
use crate::words::say;

/// Clients of one listener at a time, before they have shown who they are.
const MAX_CLIENTS: usize = 512;
/// After an error of `accept` (out of file descriptors): closing connections may help meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Random bytes in the password of a run.
const PASSWORD_BYTES: usize = 32;
/// Random bytes in the name of a run's folder: nobody can make it before.
const FOLDER_BYTES: usize = 12;

/// How the child reaches one resource.
pub(super) struct Endpoint<'a> {
    pub(super) grant: &'a GrantInfo,
    /// The folder of the socket `.s.PGSQL.<port>`.
    pub(super) folder: PathBuf,
    /// The port on 127.0.0.1, and in the socket's name.
    pub(super) port: u16,
    pub(super) password: Secret,
}

/// The open listeners of a run.
pub(super) struct Listeners<'a> {
    endpoints: Vec<Endpoint<'a>>,
    folder: PathBuf,
    clients: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl<'a> Listeners<'a> {
    /// Opens a socket and a port for each route.
    pub(super) fn open(
        routes: &[(&'a GrantInfo, Arc<Route>)],
        threads: &Arc<Threads>,
    ) -> io::Result<Self> {
        let password = Secret::new(random(PASSWORD_BYTES)?);
        let mut listeners = Self {
            endpoints: Vec::new(),
            folder: private_folder()?,
            clients: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        for (grant, route) in routes {
            let tcp = std::net::TcpListener::bind(("127.0.0.1", 0))?;
            tcp.set_nonblocking(true)?;
            let port = tcp.local_addr()?.port();
            let socket = UnixListener::bind(listeners.folder.join(format!(".s.PGSQL.{port}")))?;
            let place = Place {
                route: route.clone(),
                threads: threads.clone(),
                slots: Arc::new(Semaphore::new(MAX_CLIENTS)),
                clients: listeners.clients.clone(),
                stop: listeners.stop.clone(),
                cut: listeners.cut.clone(),
            };
            listeners.spawn_unix(socket, place.clone());
            listeners.spawn_tcp(TcpListener::from_std(tcp)?, place, password.clone());
            let (folder, password) = (listeners.folder.clone(), password.clone());
            listeners.endpoints.push(Endpoint { grant, folder, port, password });
        }
        Ok(listeners)
    }

    /// How the child reaches its resources.
    pub(super) fn endpoints(&self) -> &[Endpoint<'a>] {
        &self.endpoints
    }

    /// Takes no more clients; those that are there may go by themselves for a moment.
    pub(super) async fn close(self, drain: Duration) {
        self.stop.cancel();
        self.clients.close();
        if timeout(drain, self.clients.wait()).await.is_err() {
            self.cut.cancel();
            self.clients.wait().await;
        }
    }

    fn spawn_unix(&self, listener: UnixListener, place: Place) {
        let own = rustix::process::geteuid().as_raw();
        self.clients.spawn(async move {
            while let Some((stream, _)) = place.next(|| listener.accept()).await {
                // The folder keeps others out already; root can enter it.
                if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
                    say("refused a connection of another user on the run's socket");
                    continue;
                }
                let Ok(stream) = stream.into_std() else { continue };
                let there = || Ok(Box::new(UnixStream::from_std(stream)?) as ClientIo);
                place.serve(there, ClientAuth::Proven);
            }
        });
    }

    fn spawn_tcp(&self, listener: TcpListener, place: Place, password: Secret) {
        self.clients.spawn(async move {
            while let Some((stream, _)) = place.next(|| listener.accept()).await {
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                let Ok(stream) = stream.into_std() else { continue };
                let there = || Ok(Box::new(TcpStream::from_std(stream)?) as ClientIo);
                place.serve(there, ClientAuth::Password(password.clone()));
            }
        });
    }
}

/// What the listeners of one resource share.
#[derive(Clone)]
struct Place {
    route: Arc<Route>,
    threads: Arc<Threads>,
    slots: Arc<Semaphore>,
    clients: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl Place {
    /// The next client; `None` when no more are taken.
    async fn next<T, F>(&self, accept: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        loop {
            let accepted = tokio::select! {
                accepted = accept() => accepted,
                () = self.stop.cancelled() => return None,
            };
            match accepted {
                Ok(client) => return Some(client),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Serves a client beside the others, if there is room for one more: on one of the threads, on which `stream` is
    /// opened anew.
    fn serve(
        &self,
        stream: impl FnOnce() -> io::Result<ClientIo> + Send + 'static,
        auth: ClientAuth,
    ) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else { return };
        let (route, cut) = (self.route.clone(), self.cut.clone());
        let serving = async move {
            let _slot = slot;
            let Ok(stream) = stream() else { return };
            let _ = unless(cut.cancelled(), route.serve(stream, auth)).await;
        };
        self.clients.spawn_on(serving, self.threads.next());
    }
}

impl Drop for Listeners<'_> {
    fn drop(&mut self) {
        self.stop.cancel();
        self.cut.cancel();
        // What is left there are sockets that nobody listens on.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn random(bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0; bytes];
    OsRng.try_fill_bytes(&mut buffer).map_err(io::Error::other)?;
    Ok(URL_SAFE_NO_PAD.encode(buffer))
}

/// A folder that did not exist and that only this user can enter.
fn private_folder() -> io::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let parent = runtime.filter(|dir| dir.is_dir()).unwrap_or_else(|| Path::new("/tmp").to_owned());
    let folder = parent.join(format!("guard-{}", random(FOLDER_BYTES)?));
    DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

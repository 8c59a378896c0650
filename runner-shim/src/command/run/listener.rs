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
use guard_engine::ClientAuth;
use rand::{TryRngCore as _, rngs::OsRng};
use tokio::{
    net::{TcpListener, UnixListener},
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
    pub(super) fn open(routes: &[(&'a GrantInfo, Arc<Route>)]) -> io::Result<Self> {
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
            let slots = Arc::new(Semaphore::new(MAX_CLIENTS));
            listeners.spawn_unix(socket, route, &slots);
            listeners.spawn_tcp(TcpListener::from_std(tcp)?, route, &slots, &password);
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

    fn spawn_unix(&self, listener: UnixListener, route: &Arc<Route>, slots: &Arc<Semaphore>) {
        let own = rustix::process::geteuid().as_raw();
        let (route, slots, stop) = (route.clone(), slots.clone(), self.stop.clone());
        let (clients, cut) = (self.clients.clone(), self.cut.clone());
        self.clients.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.cancelled() => return,
                };
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => {
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                // The folder keeps others out already; root can enter it.
                if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
                    say("refused a connection of another user on the run's socket");
                    continue;
                }
                let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
                let (route, cut) = (route.clone(), cut.clone());
                clients.spawn(async move {
                    let _slot = slot;
                    tokio::select! {
                        () = route.serve(Box::new(stream), ClientAuth::Proven) => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        });
    }

    fn spawn_tcp(
        &self,
        listener: TcpListener,
        route: &Arc<Route>,
        slots: &Arc<Semaphore>,
        password: &Secret,
    ) {
        let (route, slots, stop) = (route.clone(), slots.clone(), self.stop.clone());
        let (clients, cut, password) = (self.clients.clone(), self.cut.clone(), password.clone());
        self.clients.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.cancelled() => return,
                };
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => {
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
                let (route, cut) = (route.clone(), cut.clone());
                let auth = ClientAuth::Password(password.clone());
                clients.spawn(async move {
                    let _slot = slot;
                    tokio::select! {
                        () = route.serve(Box::new(stream), auth) => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        });
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

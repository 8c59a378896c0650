//! Where the child finds its resources: a private Unix socket and loopback TCP for each.
//!
//! The socket lives in a folder of this run that only this user can enter, and the kernel tells who
//! connects. On TCP it does not tell by itself, so a client must know a password made for this run; one of an HTTP API or of the
//! proxy, which may not be able to show it, is found in the kernel's table of connections.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::{BoxFuture, FutureExt as _};
use guard_core::{ResourceKind, Secret, control::GrantInfo, egress::Host};
use guard_engine::{
    ClientAuth, ClientIo, TlsError,
    alarm::unless,
    egress::{Api, Egress, EgressJudge, Nowhere, RunAuthority, ServeApi},
    threads::Threads,
};
use rand::{TryRngCore as _, rngs::OsRng};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{peer, route::Route};
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
    /// The folder of the socket, where the child may have Unix sockets.
    pub(super) folder: Option<PathBuf>,
    /// The port on 127.0.0.1, and in the socket's name.
    pub(super) port: u16,
    pub(super) password: Secret,
}

/// Where the listeners are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    /// Here: a Unix socket and a port.
    Here,
    /// Here, for a child that has no Unix sockets: a port.
    Ports,
    /// In the child's own network: a port, opened there.
    Inside,
}

/// The first port in a network where nobody else is.
const FIRST_INSIDE: u16 = 5432;

/// How the child reaches what is no resource: a proxy on 127.0.0.1.
pub(super) struct WayOut {
    pub(super) port: u16,
    pub(super) password: Secret,
    /// PEM of the authority whose certificates APIs of the run show there, if it has any.
    pub(super) authority: Option<String>,
}

/// The open listeners of a run.
pub(super) struct Listeners<'a> {
    endpoints: Vec<Endpoint<'a>>,
    way_out: Option<WayOut>,
    /// Those that are opened inside, in the order of the endpoints.
    awaited: Vec<(Place, Secret)>,
    folder: Option<PathBuf>,
    clients: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
    /// Nothing goes out any more.
    shut: CancellationToken,
    /// The user that the command runs as.
    child: u32,
}

impl<'a> Listeners<'a> {
    /// Opens a socket and a port for each route, and a port for the way out if `judge` says where it leads. `child` is the
    /// number of the user that the command runs as.
    pub(super) fn open(
        routes: &'a [(GrantInfo, Arc<Route>)],
        judge: Option<Arc<dyn EgressJudge>>,
        threads: &Arc<Threads>,
        network: Network,
        child: u32,
    ) -> io::Result<Self> {
        let password = Secret::new(random(PASSWORD_BYTES)?);
        let folder = match network {
            Network::Here => Some(private_folder()?),
            Network::Ports | Network::Inside => None,
        };
        let mut listeners = Self {
            endpoints: Vec::new(),
            way_out: None,
            awaited: Vec::new(),
            folder,
            clients: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            shut: CancellationToken::new(),
            child,
        };
        let mut inside = FIRST_INSIDE..;
        for (grant, route) in routes {
            let place = listeners.place(Behind::Resource(grant.kind, route.clone()), threads);
            let port = listeners.listen(place, &password, network, &mut inside)?;
            let (folder, password) = (listeners.folder.clone(), password.clone());
            listeners.endpoints.push(Endpoint { grant, folder, port, password });
        }
        // Where the network is the machine's own, a proxy that lets nothing out would only be in the way.
        let nowhere = || (network != Network::Here).then(|| Arc::new(Nowhere) as Arc<_>);
        let (authority, apis) = apis(routes).map_err(io::Error::other)?;
        let judge = judge.or_else(|| authority.as_ref().and_then(|_| nowhere()));
        if let Some(judge) = judge {
            let egress = Arc::new(Egress::new(judge, password.clone(), apis));
            let place = listeners.place(Behind::Elsewhere(egress), threads);
            let port = listeners.listen(place, &password, network, &mut inside)?;
            listeners.way_out = Some(WayOut { port, password, authority });
        }
        Ok(listeners)
    }

    fn place(&self, behind: Behind, threads: &Arc<Threads>) -> Place {
        Place {
            behind,
            threads: threads.clone(),
            slots: Arc::new(Semaphore::new(MAX_CLIENTS)),
            clients: self.clients.clone(),
            stop: self.stop.clone(),
            cut: self.cut.clone(),
            shut: self.shut.clone(),
            child: self.child,
        }
    }

    fn listen(
        &mut self,
        place: Place,
        password: &Secret,
        network: Network,
        inside: &mut impl Iterator<Item = u16>,
    ) -> io::Result<u16> {
        match network {
            Network::Here | Network::Ports => self.listen_here(place, password.clone()),
            Network::Inside => {
                self.awaited.push((place, password.clone()));
                inside.next().ok_or_else(|| io::Error::other("there are too many listeners"))
            }
        }
    }

    /// Opens a port here, and a resource's Unix socket of that number where there is a folder for it.
    fn listen_here(&self, place: Place, password: Secret) -> io::Result<u16> {
        let tcp = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        tcp.set_nonblocking(true)?;
        let port = tcp.local_addr()?.port();
        if let (Some(folder), Behind::Resource(kind, _)) = (&self.folder, &place.behind) {
            let socket = UnixListener::bind(folder.join(socket_name(*kind, port)))?;
            self.spawn_unix(socket, place.clone());
        }
        self.spawn_tcp(TcpListener::from_std(tcp)?, place, password, Reach::Everybody);
        Ok(port)
    }

    /// Takes the listeners that were opened inside, in the order of the endpoints.
    pub(super) fn adopt(&mut self, opened: Vec<std::net::TcpListener>) -> io::Result<()> {
        for (tcp, (place, password)) in opened.into_iter().zip(std::mem::take(&mut self.awaited)) {
            tcp.set_nonblocking(true)?;
            self.spawn_tcp(TcpListener::from_std(tcp)?, place, password, Reach::Child);
        }
        Ok(())
    }

    /// How the child reaches its resources.
    pub(super) fn endpoints(&self) -> &[Endpoint<'a>] {
        &self.endpoints
    }

    /// How the child reaches what is no resource, if it may.
    pub(super) fn way_out(&self) -> Option<&WayOut> {
        self.way_out.as_ref()
    }

    /// All ports, in the order in which they are opened inside.
    pub(super) fn ports(&self) -> Vec<u16> {
        let resources = self.endpoints.iter().map(|endpoint| endpoint.port);
        resources.chain(self.way_out.as_ref().map(|out| out.port)).collect()
    }

    /// The session is over: nothing goes out any more.
    pub(super) fn shut_way_out(&self) {
        self.shut.cancel();
    }

    /// Takes no more clients; those that are there may go by themselves for a moment.
    pub(super) async fn close(self, drain: Duration) {
        self.stop.cancel();
        self.clients.close();
        if timeout(drain, self.clients.wait()).await.is_err() {
            self.cut.cancel();
            self.shut.cancel();
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
                place.serve(there, ClientAuth::Proven, || true);
            }
        });
    }

    fn spawn_tcp(&self, listener: TcpListener, place: Place, password: Secret, reach: Reach) {
        self.clients.spawn(async move {
            while let Some((stream, _)) = place.next(|| listener.accept()).await {
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                let Ok(stream) = stream.into_std() else { continue };
                let (ends, child) = (peer::Ends::of(&stream), place.child);
                let is_own = move || match reach {
                    Reach::Child => true,
                    Reach::Everybody => ends.are_of(child),
                };
                let auth = place.auth(&password, is_own);
                let there = || Ok(Box::new(TcpStream::from_std(stream)?) as ClientIo);
                place.serve(there, auth, is_own);
            }
        });
    }
}

/// The APIs that clients may call by their own names, and the authority that vouches for guard in these.
fn apis(routes: &[(GrantInfo, Arc<Route>)]) -> Result<(Option<String>, Vec<Api>), TlsError> {
    let places = routes.iter().filter_map(|(grant, route)| {
        let (host, port) = grant.origin.as_deref()?.rsplit_once(':')?;
        Some((Host::new(host).ok()?, port.parse().ok()?, Arc::new(ApiRoute(route.clone()))))
    });
    let places: Vec<(Host, u16, _)> = places.collect();
    if places.is_empty() {
        return Ok((None, Vec::new()));
    }
    let authority = RunAuthority::new(places.iter().map(|(host, ..)| host))?;
    let apis = places.into_iter().map(|(host, port, route)| authority.api(host, port, route));
    Ok((Some(authority.pem().to_owned()), apis.collect::<Result<_, _>>()?))
}

/// Clients of the proxy are known to be the run's before they get here.
struct ApiRoute(Arc<Route>);

impl ServeApi for ApiRoute {
    fn serve(&self, client: ClientIo) -> BoxFuture<'_, ()> {
        self.0.serve(client, ClientAuth::Proven.into()).boxed()
    }
}

/// What a client of a listener gets to.
#[derive(Clone)]
enum Behind {
    Resource(ResourceKind, Arc<Route>),
    Elsewhere(Arc<Egress>),
}

/// Who can connect to a port.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// Whoever is on this machine.
    Everybody,
    /// Programs of the child, in whose network it is.
    Child,
}

/// What the socket of a resource is called.
pub(super) fn socket_name(kind: ResourceKind, port: u16) -> String {
    match kind {
        ResourceKind::Postgres => format!(".s.PGSQL.{port}"),
        ResourceKind::Http => format!("http.{port}.sock"),
    }
}

/// What the listeners of one resource share.
#[derive(Clone)]
struct Place {
    behind: Behind,
    threads: Arc<Threads>,
    slots: Arc<Semaphore>,
    clients: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
    shut: CancellationToken,
    child: u32,
}

impl Place {
    /// How a client of a port shows that it belongs to the run. HTTP has no password for that: its clients have a header for the
    /// credential of the API, and nothing else. So it has to be known whose socket it is.
    fn auth(&self, password: &Secret, is_own: impl FnOnce() -> bool) -> ClientAuth {
        let is_own = match &self.behind {
            Behind::Resource(ResourceKind::Http, _) => is_own(),
            Behind::Resource(ResourceKind::Postgres, _) | Behind::Elsewhere(_) => false,
        };
        if is_own { ClientAuth::Proven } else { ClientAuth::Password(password.clone()) }
    }

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
    /// opened anew. The proxy asks `is_own` for a client that shows no password, as some programs have no way to.
    fn serve(
        &self,
        stream: impl FnOnce() -> io::Result<ClientIo> + Send + 'static,
        auth: ClientAuth,
        is_own: impl FnOnce() -> bool + Send + 'static,
    ) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else { return };
        let (behind, cut, shut) = (self.behind.clone(), self.cut.clone(), self.shut.clone());
        let serving = async move {
            let _slot = slot;
            let Ok(stream) = stream() else { return };
            match behind {
                Behind::Resource(_, route) => {
                    let _ = unless(cut.cancelled(), route.serve(stream, auth.into())).await;
                }
                // It says what came of it also when it is cut off.
                Behind::Elsewhere(egress) => {
                    if let Some(what) = egress.serve(stream, is_own, &shut).await {
                        say(&format!("refused {what}"));
                    }
                }
            }
        };
        self.clients.spawn_on(serving, self.threads.next());
    }
}

impl Drop for Listeners<'_> {
    fn drop(&mut self) {
        self.stop.cancel();
        self.cut.cancel();
        self.shut.cancel();
        // What is left there are sockets that nobody listens on.
        if let Some(folder) = &self.folder {
            drop(std::fs::remove_dir_all(folder));
        }
    }
}

fn random(bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0; bytes];
    OsRng.try_fill_bytes(&mut buffer).map_err(io::Error::other)?;
    Ok(URL_SAFE_NO_PAD.encode(buffer))
}

/// A folder that did not exist and that only this user can enter.
pub(super) fn private_folder() -> io::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let parent = runtime.filter(|dir| dir.is_dir()).unwrap_or_else(|| Path::new("/tmp").to_owned());
    let folder = fresh(&parent)?;
    DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// The name of a folder that is not there, where every user comes.
pub(super) fn fresh_folder() -> io::Result<PathBuf> {
    fresh(Path::new("/tmp"))
}

fn fresh(parent: &Path) -> io::Result<PathBuf> {
    Ok(parent.join(format!("guard-{}", random(FOLDER_BYTES)?)))
}

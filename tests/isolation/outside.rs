//! What is outside of the job: servers, sockets, files and processes that its command must not reach.

use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{PermissionsExt as _, chown},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use guard_tests::process::free_port;
use serde_json::{Value, json};

use super::OTHER;

/// An address of this machine that stands for 169.254.169.254: tests send nothing to where that may lead.
const METADATA: Ipv4Addr = Ipv4Addr::new(127, 169, 254, 169);

pub(super) struct Outside {
    pub(super) elsewhere: PathBuf,
    setuid: PathBuf,
    unix: PathBuf,
    temporary: PathBuf,
    abstract_name: String,
    daemon: String,
    marker: String,
    database: u16,
    listen: u16,
    tcp: [TcpListener; 3],
    udp: [Arc<UdpSocket>; 2],
    _unix: [UnixListener; 2],
    _elsewhere: tempfile::TempDir,
}

impl Outside {
    pub(super) fn new(folder: &Path, database: u16) -> Self {
        // Neither a temporary folder nor one of the job's.
        let elsewhere = tempfile::tempdir_in("/opt").unwrap();
        fs::set_permissions(elsewhere.path(), Permissions::from_mode(0o777)).unwrap();
        let setuid = folder.join("id");
        fs::copy("/usr/bin/id", &setuid).unwrap();
        chown(&setuid, Some(OTHER), Some(OTHER)).unwrap();
        fs::set_permissions(&setuid, Permissions::from_mode(0o4755)).unwrap();
        let unix = folder.join("outside.sock");
        let listener = UnixListener::bind(&unix).unwrap();
        fs::set_permissions(&unix, Permissions::from_mode(0o777)).unwrap();
        let number = std::process::id();
        let abstract_name = format!("guard-test-{number}-{database}");
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let temporary = std::env::temp_dir().join(format!("guard-test-{number}-{database}"));
        fs::write(&temporary, "of another process").unwrap();
        fs::set_permissions(&temporary, Permissions::from_mode(0o644)).unwrap();
        let udp = ["127.0.0.1:0", "[::1]:0"].map(|at| Arc::new(UdpSocket::bind(at).unwrap()));
        for socket in &udp {
            let socket = socket.clone();
            thread::spawn(move || {
                let mut buffer = [0; 512];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    drop(socket.send_to(&buffer[..length], from));
                }
            });
        }
        let tcp = ["127.0.0.1:0", "[::1]:0"].map(|at| TcpListener::bind(at).unwrap());
        let [tcp, tcp6] = tcp;
        Self {
            setuid,
            unix,
            temporary,
            daemon: format!("{}", 100_000 + u32::from(database)),
            marker: folder.display().to_string(),
            database,
            listen: free_port().unwrap(),
            tcp: [tcp, tcp6, TcpListener::bind((METADATA, 0)).unwrap()],
            udp,
            _unix: [listener, UnixListener::bind_addr(&address).unwrap()],
            abstract_name,
            elsewhere: elsewhere.path().to_owned(),
            _elsewhere: elsewhere,
        }
    }

    /// What the attacks are told.
    pub(super) fn setup(&self, token: &str) -> Value {
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let udp = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        json!({
            "marker": self.marker,
            "token": token,
            "database": self.database,
            "tcp": port(&self.tcp[0]),
            "tcp6": port(&self.tcp[1]),
            "metadata": METADATA.to_string(),
            "metadata_port": port(&self.tcp[2]),
            "udp": udp(&self.udp[0]),
            "udp6": udp(&self.udp[1]),
            "unix": self.unix,
            "abstract": self.abstract_name,
            "listen": self.listen,
            "setuid": self.setuid,
            "owner": OTHER,
            "elsewhere": self.elsewhere,
            "temporary": self.temporary,
            "daemon": self.daemon,
        })
    }

    /// Connects to the command's own server as soon as there is one, from outside.
    pub(super) fn connect_when_listening(&self, over: Arc<AtomicBool>) -> JoinHandle<()> {
        let port = self.listen;
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    drop(stream.write_all(b"x"));
                    drop(stream.read(&mut [0]));
                    return;
                }
                thread::park_timeout(Duration::from_millis(20));
            }
        })
    }

    /// Whether the process that was left behind lives.
    pub(super) fn daemon_is_there(&self) -> bool {
        let wanted = format!("sleep\0{}\0", self.daemon);
        fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes())
        })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.temporary));
    }
}

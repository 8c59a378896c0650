//! A client of PostgreSQL's protocol that sends what it is told, well-formed or not.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use guard_tests::{
    Stage,
    process::{Process, wait_for},
    script,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// An answer on loopback comes at once; waiting longer means that none comes.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A run whose child holds the door open.
pub(crate) struct Held {
    /// Dropping it ends the run.
    _process: Process,
    pub(crate) socket: PathBuf,
    pub(crate) variables: Vec<(String, String)>,
}

impl Held {
    pub(crate) fn start(stage: &Stage) -> Self {
        Self::start_with(stage, &[])
    }

    /// The same, with variables for guard itself.
    pub(crate) fn start_with(stage: &Stage, variables: &[(&str, &str)]) -> Self {
        let found = stage.dir().join("variables");
        // Of an earlier run.
        drop(std::fs::remove_file(&found));
        let text = format!(
            "env > {0}.part && mv {0}.part {0} && while :; do sleep 1; done",
            found.display()
        );
        let mut command = script(&text);
        command.envs(variables.iter().copied());
        let process = stage.spawn("held", &command).unwrap();
        let text = wait_for("child", || {
            if let Ok(text) = std::fs::read_to_string(&found) {
                return Some(text);
            }
            assert!(!process.log().contains("guard: error"), "{}", process.log());
            None
        });
        let text = text.unwrap_or_else(|error| panic!("{error}\n{}", process.log()));
        let variables: Vec<(String, String)> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let value = |wanted: &str| {
            variables
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.clone())
                .unwrap()
        };
        let socket = PathBuf::from(value("PGHOST")).join(format!(".s.PGSQL.{}", value("PGPORT")));
        Self { _process: process, socket, variables }
    }

    pub(crate) fn variable(&self, wanted: &str) -> &str {
        let found = self.variables.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str()).unwrap()
    }

    /// A connection that nothing was sent on.
    pub(crate) fn raw(&self) -> Wire {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
        stream.set_write_timeout(Some(ANSWER_WITHIN)).unwrap();
        Wire { stream }
    }

    /// A connection that is ready for a query.
    pub(crate) fn ready(&self) -> Wire {
        let mut wire = self.raw();
        wire.send(&startup(196_608, &[("user", "job"), ("database", "shop")]));
        let messages = wire.until_ready();
        assert!(messages.iter().any(|(kind, _)| *kind == b'Z'), "{messages:?}");
        wire
    }
}

/// A message of the server: its type and its body.
pub(crate) type Message = (u8, Vec<u8>);

/// A connection.
pub(crate) struct Wire {
    stream: UnixStream,
}

impl Wire {
    /// Sends bytes; the other side may have hung up.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// Whether something came that was not read.
    pub(crate) fn is_answered(&self) -> bool {
        let mut asked = [PollFd::new(&self.stream, PollFlags::IN)];
        poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    }

    /// Reads messages up to and with ReadyForQuery, or to the end.
    pub(crate) fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.message() {
            let last = message.0 == b'Z';
            messages.push(message);
            if last {
                break;
            }
        }
        messages
    }

    /// Says that nothing more comes, and reads to the end.
    pub(crate) fn read_to_the_end(&mut self) -> Vec<u8> {
        drop(self.stream.shutdown(Shutdown::Write));
        let mut bytes = Vec::new();
        drop(self.stream.read_to_end(&mut bytes));
        bytes
    }

    fn message(&mut self) -> Option<Message> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }
}

/// A start-up packet of a version.
pub(crate) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    let mut packet = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
    packet.extend(body);
    packet
}

/// A message with its true length.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    framed(kind, u32::try_from(body.len() + 4).unwrap(), body)
}

/// A message that says what it likes of its length.
pub(crate) fn framed(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(length.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Query.
pub(crate) fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', format!("{sql}\0").as_bytes())
}

/// Parse of a statement without parameters.
pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    frame(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

/// Bind of a statement to the unnamed portal, and its Execute.
pub(crate) fn execute(name: &str) -> Vec<u8> {
    let mut frames = frame(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes());
    frames.extend(frame(b'E', b"\0\0\0\0\0"));
    frames
}

/// Sync.
pub(crate) fn sync() -> Vec<u8> {
    frame(b'S', b"")
}

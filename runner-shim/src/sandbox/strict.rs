//! The level `strict`: a process inside, which guard is too, makes namespaces of its own, opens the listeners in its network,
//! hands them out, starts the command and is its `init`.
//!
//! ```text
//! shim ──────── outer ──────────────────────── inside (process 1 there) ──── command
//!   │ plan        │ new namespaces                │
//!   │ ids         │                               │ mounts, loopback
//!   │ ◄─ ready ───┼───────────────────────────────┤
//!   │ go: command, environment, ports ───────────►│
//!   │ ◄─ listeners (SCM_RIGHTS), started ─────────┤
//!   │ signals ───────────────────────────────────►│ … the command ends, and with process 1 all that is left
//!   │ ◄─ exit code ┴──────────────────────────────┘
//! ```
//!
//! Outer and inside are this program again, so that nothing of the shim's memory is in them. Whatever fails before the
//! command is started says at which step, and the next level is taken.

mod frames;
pub(crate) mod inside;
mod mounts;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::{
        fd::AsRawFd as _,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{User, landlock::Files};

/// The word by which this program knows that it is to be the process inside.
pub(crate) const INSIDE: &str = "__inside";

/// The process inside answers within this, or there is something wrong with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the process inside needs to know to make the place ready.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    files: Files,
    /// What stays visible though it is in a folder that is replaced.
    kept: BTreeSet<PathBuf>,
    folder: PathBuf,
}

/// What it needs to know to start the command.
#[derive(Debug, Serialize, Deserialize)]
struct Go {
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    user: Option<User>,
    ports: Vec<u16>,
    landlock: bool,
    own_group: bool,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// It has its namespaces and needs its users' ids.
    Unshared,
    /// The command can be started.
    Ready,
    /// It cannot be made ready.
    Failed { step: String, reason: String },
    /// The listeners come with this answer.
    Listening,
    /// The command runs.
    Started,
    /// The command cannot be started: the error's number.
    NotStarted(Option<i32>),
}

/// A place for the command that is being made.
pub(crate) struct Making {
    outer: std::process::Child,
    control: UnixStream,
}

/// A place for the command.
pub(crate) struct Ready {
    making: Making,
}

/// What starts in such a place.
pub(crate) struct Start<'a> {
    /// The command and its arguments.
    pub(crate) command: &'a [OsString],
    /// All of its environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The user that it runs as, if not this one.
    pub(crate) user: Option<User>,
    /// The ports of the listeners.
    pub(crate) ports: Vec<u16>,
    /// Whether Landlock keeps it, too.
    pub(crate) landlock: bool,
    /// Whether it gets a process group of its own.
    pub(crate) own_group: bool,
}

/// What a started command is held by.
pub(crate) struct Running {
    /// The process that ends as the command does.
    pub(crate) outer: std::process::Child,
    /// Signals go here, a byte each. The command is ended when it is closed.
    pub(crate) signals: UnixStream,
    /// The listeners, in the order of the ports.
    pub(crate) listeners: Vec<std::net::TcpListener>,
}

impl Making {
    /// Starts the process inside. The command will have the given outputs.
    pub(crate) fn begin(
        files: Files,
        kept: BTreeSet<PathBuf>,
        stdout: Stdio,
        stderr: Stdio,
    ) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let folder = std::env::current_dir()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("guard").arg(INSIDE).arg(theirs.as_raw_fd().to_string());
        command.env_clear().stdout(stdout).stderr(stderr);
        // Of the pair only this end lives on in the new program.
        let number = theirs.as_raw_fd();
        let before_exec = move || {
            // SAFETY: the descriptor is open in the forked process as it is in this one.
            #[expect(unsafe_code, reason = "the descriptor belongs to the closure's twin")]
            let theirs = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
            Ok(rustix::io::fcntl_setfd(theirs, rustix::io::FdFlags::empty())?)
        };
        // SAFETY: between fork and exec the closure makes one system call.
        #[expect(unsafe_code, reason = "std has no other way to act between fork and exec")]
        unsafe {
            command.pre_exec(before_exec);
        }
        let outer = command.spawn()?;
        drop(theirs);
        let mut making = Self { outer, control };
        making.control.set_read_timeout(Some(PATIENCE))?;
        making.control.set_write_timeout(Some(PATIENCE))?;
        frames::send(&mut making.control, &Plan { files, kept, folder })?;
        Ok(making)
    }

    /// Waits until the place is ready, or for the reason why it cannot be.
    pub(crate) fn ready(mut self) -> Result<Ready, String> {
        match self.make() {
            Ok(()) => Ok(Ready { making: self }),
            Err(reason) => {
                // It ends by itself, or never will.
                drop(self.outer.kill());
                drop(self.outer.wait());
                Err(reason)
            }
        }
    }

    fn make(&mut self) -> Result<(), String> {
        let lost = |error: io::Error| format!("the process inside is gone: {error}");
        loop {
            match frames::receive(&mut self.control).map_err(lost)? {
                Answer::Unshared => {
                    give_ids(self.outer.id()).map_err(|error| format!("user ids: {error}"))?;
                    frames::send(&mut self.control, &()).map_err(lost)?;
                }
                Answer::Ready => return Ok(()),
                Answer::Failed { step, reason } => return Err(format!("{step}: {reason}")),
                Answer::Listening | Answer::Started | Answer::NotStarted(_) => {
                    return Err("the process inside is out of step".into());
                }
            }
        }
    }
}

impl Ready {
    /// Starts the command. The error is the command's own.
    pub(crate) fn start(self, start: Start<'_>) -> io::Result<Running> {
        let Making { mut outer, mut control } = self.making;
        let count = start.ports.len();
        let go = Go {
            command: start.command.to_vec(),
            environment: start.environment,
            user: start.user,
            ports: start.ports,
            landlock: start.landlock,
            own_group: start.own_group,
        };
        let mut run = || {
            frames::send(&mut control, &go)?;
            let listeners = frames::receive_listeners(&mut control, count)?;
            match frames::receive(&mut control)? {
                Answer::Started => Ok(listeners),
                Answer::NotStarted(number) => Err(number.map_or_else(
                    || io::Error::other("it is not known why"),
                    io::Error::from_raw_os_error,
                )),
                Answer::Failed { step, reason } => {
                    Err(io::Error::other(format!("{step}: {reason}")))
                }
                Answer::Unshared | Answer::Ready | Answer::Listening => {
                    Err(io::Error::other("the process inside is out of step"))
                }
            }
        };
        match run() {
            Ok(listeners) => Ok(Running { outer, signals: control, listeners }),
            Err(error) => {
                drop(outer.kill());
                drop(outer.wait());
                Err(error)
            }
        }
    }
}

/// Gives a process in a user namespace of its own the ids that it had: all that there are, if this process is root, and else
/// its own.
fn give_ids(process: u32) -> io::Result<()> {
    let folder = PathBuf::from(format!("/proc/{process}"));
    let user = rustix::process::geteuid();
    if user.is_root() {
        for map in ["uid_map", "gid_map"] {
            let own = fs::read_to_string(format!("/proc/self/{map}"))?;
            let same: String = own
                .lines()
                .filter_map(|line| {
                    let mut numbers = line.split_whitespace();
                    let (first, count) = (numbers.next()?, numbers.nth(1)?);
                    Some(format!("{first} {first} {count}\n"))
                })
                .collect();
            fs::write(folder.join(map), same)?;
        }
        return Ok(());
    }
    let (user, group) = (user.as_raw(), rustix::process::getegid().as_raw());
    // user_namespaces(7): without it, nobody but root may write the map of the groups.
    fs::write(folder.join("setgroups"), "deny")?;
    fs::write(folder.join("uid_map"), format!("{user} {user} 1\n"))?;
    fs::write(folder.join("gid_map"), format!("{group} {group} 1\n"))
}

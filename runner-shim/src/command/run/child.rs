//! The child: started, signalled, waited for.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write as _},
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    process::{self, ExitStatus},
};

use guard_core::Isolation;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    signal::unix::{self, SignalKind},
    sync::oneshot,
};

use super::{environment::Environment, isolation::Reached, output::Outputs};
use crate::{
    sandbox::{self, Confined, User, strict},
    words::say,
};

/// Exit code of a command that is there and cannot be started.
const CANNOT_START: u8 = 126;
/// Exit code of a command that is not there.
const NOT_FOUND: u8 = 127;
/// Added to a signal's number.
const SIGNALLED: i32 = 128;

/// The child could not be started.
pub(super) struct StartError {
    pub(super) message: String,
    pub(super) code: u8,
}

/// The running child.
pub(super) struct Child {
    process: Process,
    /// What its listeners are, where it opened them itself.
    pub(super) listeners: Vec<std::net::TcpListener>,
}

enum Process {
    /// A child of this process.
    Here(tokio::process::Child, Option<Pid>),
    /// A process inside holds it: waited for is the one that ends as it does; signals go to the one that is its `init`.
    Inside(Waiting, UnixStream),
}

/// A process whose end another thread waits for.
struct Waiting(oneshot::Receiver<ExitStatus>);

/// What is started, and how.
pub(super) struct Plan<'a> {
    pub(super) command: &'a [OsString],
    pub(super) environment: &'a Environment,
    pub(super) reached: Reached,
    /// The user that it runs as, if not this one.
    pub(super) user: Option<&'a User>,
    /// The ports of the listeners.
    pub(super) ports: Vec<u16>,
}

/// Starts the command. Call it on the main thread: the child is told when that ends.
///
/// With a terminal it stays in this process group, so that the terminal's keys reach it as they would without guard. Without
/// one it gets a group of its own, and a signal to its group is not one to the shim.
pub(super) fn start(plan: Plan<'_>, outputs: &Outputs) -> Result<Child, StartError> {
    let Some((program, arguments)) = plan.command.split_first() else {
        return Err(StartError {
            message: "there is no command to run".into(),
            code: CANNOT_START,
        });
    };
    let own_group = File::open("/dev/tty").is_err();
    let Reached { files, landlock, word, place } = plan.reached;
    let started = if let Some(place) = place {
        let start = strict::Start {
            command: plan.command,
            environment: plan.environment.all(),
            user: plan.user.cloned(),
            ports: plan.ports,
            landlock,
            own_group,
        };
        place.start(start).map(Child::inside)
    } else {
        let mut command = process::Command::new(program);
        command.args(arguments).env_clear().envs(plan.environment.all());
        if let Some(user) = plan.user {
            user.runs(&mut command);
        }
        let ports = Some(plan.ports.as_slice());
        let confined = match word.level {
            Isolation::Env => Ok(Confined::lightly()),
            Isolation::Landlock | Isolation::Strict => Confined::closely(Some(&files), ports),
        };
        confined.and_then(|confined| {
            sandbox::adopt_descendants()?;
            let (stdout, stderr) = outputs.for_command()?;
            command.stdout(stdout).stderr(stderr);
            sandbox::end_with_parent(&mut command);
            confined.in_own_group(own_group).apply(&mut command);
            tokio::process::Command::from(command).spawn().map(Child::here)
        })
    };
    started.map_err(|error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let name = program.to_string_lossy();
        StartError {
            message: if missing {
                format!("there is no command `{name}`")
            } else {
                format!("`{name}` cannot be started: {error}")
            },
            code: if missing { NOT_FOUND } else { CANNOT_START },
        }
    })
}

impl Child {
    fn here(process: tokio::process::Child) -> Self {
        let pid = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Self { process: Process::Here(process, pid), listeners: Vec::new() }
    }

    fn inside(running: strict::Running) -> Self {
        let strict::Running { mut outer, signals, listeners } = running;
        let (ended, waiting) = oneshot::channel();
        std::thread::spawn(move || outer.wait().map(|status| ended.send(status)));
        Self { process: Process::Inside(Waiting(waiting), signals), listeners }
    }

    /// Waits for its end: its exit code, or 128 + the signal that ended it. Cancel-safe. Its descendants end with it.
    pub(super) async fn wait(&mut self) -> u8 {
        let status = match &mut self.process {
            Process::Here(process, _) => process.wait().await.ok(),
            Process::Inside(Waiting(ended), _) => ended.await.ok(),
        };
        let code = status
            .and_then(|status| status.code().or_else(|| status.signal().map(|s| SIGNALLED + s)))
            .unwrap_or(SIGNALLED);
        match self.process {
            Process::Here(..) => {
                if !sandbox::end_descendants() {
                    say("processes of the command are left that could not be ended");
                }
            }
            Process::Inside(..) => {}
        }
        u8::try_from(code & 0xff).unwrap_or(u8::MAX)
    }

    /// Passes a signal on. A child that is gone does not need it.
    pub(super) fn forward(&self, signal: Signal) {
        match &self.process {
            Process::Here(_, Some(pid)) => {
                let _ = kill_process(*pid, signal);
            }
            Process::Here(_, None) => {}
            Process::Inside(_, signals) => {
                let byte = u8::try_from(signal.as_raw()).unwrap_or_default();
                let mut signals: &UnixStream = signals;
                drop(signals.write_all(&[byte]));
            }
        }
    }
}

/// The signals that are passed on.
pub(super) struct Signals {
    interrupt: unix::Signal,
    quit: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    user1: unix::Signal,
    user2: unix::Signal,
    /// A terminal's keys signal the whole process group, and the child is in it.
    terminal: bool,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        use std::io::IsTerminal as _;
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            quit: unix::signal(SignalKind::quit())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            user1: unix::signal(SignalKind::user_defined1())?,
            user2: unix::signal(SignalKind::user_defined2())?,
            terminal: io::stdin().is_terminal(),
        })
    }

    /// The next signal that the child does not get by itself. Cancel-safe.
    pub(super) async fn next(&mut self) -> Signal {
        loop {
            let signal = tokio::select! {
                _ = self.interrupt.recv() => Signal::INT,
                _ = self.quit.recv() => Signal::QUIT,
                _ = self.terminate.recv() => Signal::TERM,
                _ = self.hang_up.recv() => Signal::HUP,
                _ = self.user1.recv() => Signal::USR1,
                _ = self.user2.recv() => Signal::USR2,
            };
            if !(self.terminal && (signal == Signal::INT || signal == Signal::QUIT)) {
                return signal;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use guard_core::control::ReachedIsolation;

    use super::*;
    use crate::{
        command::run::environment::{Passed, environment},
        sandbox::landlock::Files,
    };

    /// Starts a command as `--isolation env` has it.
    fn start_lightly(command: &[OsString]) -> Result<Child, StartError> {
        let passed = Passed::default();
        let mut environment = environment(&[], None, &passed, None);
        environment.set.push(("GIVEN".into(), "yes".into()));
        let word = ReachedIsolation { level: Isolation::Env, why_not: Vec::new(), step: None };
        let reached = Reached { files: Files::default(), landlock: false, word, place: None };
        let plan =
            Plan { command, environment: &environment, reached, user: None, ports: Vec::new() };
        start(plan, &Outputs::new(true).unwrap())
    }

    /// Runs a command on this thread, which outlives it.
    fn code(command: &[&str]) -> u8 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let command: Vec<OsString> = command.iter().map(OsString::from).collect();
            match start_lightly(&command) {
                Ok(mut child) => child.wait().await,
                Err(error) => error.code,
            }
        })
    }

    #[test]
    fn exit_codes_are_the_commands_own_or_say_why_there_is_none() {
        for (command, expected) in [
            (vec!["true"], 0),
            (vec!["sh", "-c", "exit 3"], 3),
            (vec!["sh", "-c", "exit 255"], 255),
            (vec!["sh", "-c", "test \"$GIVEN\" = yes"], 0),
            (vec!["sh", "-c", "kill -TERM $$"], 143),
            (vec!["sh", "-c", "kill -KILL $$"], 137),
            (vec!["/dev/null"], CANNOT_START),
            (vec!["/"], CANNOT_START),
            (vec!["no-such-command-anywhere"], NOT_FOUND),
            (vec!["/no/such/path"], NOT_FOUND),
            (vec![], CANNOT_START),
        ] {
            assert_eq!(code(&command), expected, "{command:?}");
        }
    }

    #[test]
    fn a_signal_reaches_the_child() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let code = runtime.block_on(async {
            let command = ["sleep".into(), "60".into()];
            let mut child = start_lightly(&command).ok().unwrap();
            child.forward(Signal::USR1);
            child.wait().await
        });
        assert_eq!(code, 128 + 10);
    }
}

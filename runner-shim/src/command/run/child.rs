//! The child: started, signalled, waited for.

use std::{ffi::OsString, io, os::unix::process::ExitStatusExt as _, process};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{self, SignalKind};

use super::environment::Environment;
use crate::sandbox;

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
    process: tokio::process::Child,
    pid: Option<Pid>,
}

/// Starts the command. Call it on the main thread: the child is told when that ends.
///
/// It stays in this process group, so that a terminal's keys reach it as they would without guard.
pub(super) fn start(command: &[OsString], environment: &Environment) -> Result<Child, StartError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(StartError {
            message: "there is no command to run".into(),
            code: CANNOT_START,
        });
    };
    let mut command = process::Command::new(program);
    command.args(arguments);
    for name in &environment.removed {
        command.env_remove(name);
    }
    command.envs(environment.set.iter().map(|(name, value)| (name, value)));
    sandbox::end_with_parent(&mut command);
    let process = tokio::process::Command::from(command).spawn().map_err(|error| {
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
    })?;
    let pid = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    Ok(Child { process, pid })
}

impl Child {
    /// Waits for its end: its exit code, or 128 + the signal that ended it. Cancel-safe.
    pub(super) async fn wait(&mut self) -> u8 {
        let code = match self.process.wait().await {
            Ok(status) => status
                .code()
                .or_else(|| status.signal().map(|signal| SIGNALLED + signal))
                .unwrap_or(SIGNALLED),
            Err(_) => SIGNALLED,
        };
        u8::try_from(code & 0xff).unwrap_or(u8::MAX)
    }

    /// Passes a signal on. A child that is gone does not need it.
    pub(super) fn forward(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, signal);
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

    use super::*;

    fn environment() -> Environment {
        Environment {
            set: vec![("GIVEN".into(), "yes".into())],
            removed: vec!["PATH_TO_NOWHERE".into()],
        }
    }

    /// Runs a command on this thread, which outlives it.
    fn code(command: &[&str]) -> u8 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let command: Vec<OsString> = command.iter().map(OsString::from).collect();
            match start(&command, &environment()) {
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
            let mut child = start(&command, &environment()).ok().unwrap();
            child.forward(Signal::USR1);
            child.wait().await
        });
        assert_eq!(code, 128 + 10);
    }
}

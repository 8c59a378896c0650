//! What a job ran and what came of it.

use std::{
    io::{Read as _, Seek as _},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::process::{exit_code, pause};

/// No program of a test takes longer, and nobody waits for one that hangs.
const FINISH_WITHIN: Duration = Duration::from_secs(240);

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code, or 128 and the signal that ended it.
    pub code: i32,
    /// Its standard output, as bytes.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Its standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Fails with all that it said unless it ended well.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Fails with all that it said unless it ended with this code.
    #[track_caller]
    #[must_use]
    pub fn code(self, code: i32) -> Self {
        assert!(self.code == code, "exit code {} and not {code}\n{}", self.code, self.said());
        self
    }

    /// Fails with all that it said unless its standard error contains `part`.
    #[track_caller]
    #[must_use]
    pub fn says(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "does not say `{part}`\n{}", self.said());
        self
    }

    fn said(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.text(), self.stderr)
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: exit_code(output.status),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a program without input to its end, whoever else holds its output by then; one that does not end is killed, and what it
/// said is told.
pub fn finish(command: &mut Command) -> Result<Finished> {
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let deadline = Instant::now() + FINISH_WITHIN;
    let (status, in_time) = loop {
        if let Some(status) = child.try_wait()? {
            break (status, true);
        }
        if Instant::now() > deadline {
            child.kill()?;
            break (child.wait()?, false);
        }
        pause();
    };
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    for (file, said) in [(&mut stdout, &mut output.stdout), (&mut stderr, &mut output.stderr)] {
        file.rewind()?;
        file.read_to_end(said)?;
    }
    let finished = Finished::from(output);
    if !in_time {
        bail!("{command:?} did not end within {FINISH_WITHIN:?}\n{}", finished.said());
    }
    Ok(finished)
}

/// A shell script as a command.
pub fn script(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-euc", text]);
    command
}

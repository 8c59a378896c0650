//! What a job ran and what came of it.

use std::process::{Command, Output};

use super::process::exit_code;

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

/// A shell script as a command.
pub fn script(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-euc", text]);
    command
}

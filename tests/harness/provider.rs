//! A script of `tests/issuers/`: a real OpenID Provider in a process of its own, which takes commands.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::issuer_script;

/// Making its keys and loading its packages takes a second or two.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Node itself hangs now and then (<https://github.com/nodejs/node/issues/54918>); a provider that says nothing is started again.
const STARTS: usize = 3;

/// A provider at work. Dropping it kills it.
#[derive(Debug)]
pub struct Provider {
    /// Its issuer.
    pub url: String,
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
}

impl Provider {
    /// Starts the provider of a script.
    pub fn start(script: &str) -> Result<Self> {
        let mut last = None;
        for _ in 0..STARTS {
            match Self::start_once(script) {
                Ok(provider) => return Ok(provider),
                Err(error) => last = Some(error),
            }
        }
        last.map_or_else(|| bail!("never started"), Err).context(script.to_owned())
    }

    fn start_once(script: &str) -> Result<Self> {
        let mut child = issuer_script(script, "oidc-provider")?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the provider")?;
        let commands = child.stdin.take().context("the provider has no input")?;
        let answers = lines(child.stdout.take().context("the provider has no output")?);
        let mut provider = Self { url: String::new(), child, commands, answers };
        let hello = provider.answer()?;
        hello
            .get("url")
            .and_then(Value::as_str)
            .context("no address")?
            .clone_into(&mut provider.url);
        Ok(provider)
    }

    /// Has it do something, and gives its answer.
    pub fn tell(&mut self, command: &Value) -> Result<Value> {
        writeln!(self.commands, "{command}")?;
        self.commands.flush()?;
        let answer = self.answer()?;
        match answer.get("error") {
            Some(error) => bail!("the provider: {error}"),
            None => Ok(answer),
        }
    }

    fn answer(&mut self) -> Result<Value> {
        let line = self.answers.recv_timeout(ANSWER_WITHIN);
        let line = line.with_context(|| format!("the provider is silent for {ANSWER_WITHIN:?}"))?;
        serde_json::from_str(&line).with_context(|| format!("the provider says `{line}`"))
    }
}

/// Reads lines as they come, so that who waits for one need not wait for ever.
fn lines(from: ChildStdout) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

impl Drop for Provider {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

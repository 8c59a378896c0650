//! The place where people of tests sign in: a real OpenID Provider, with people and their groups.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::issuer_script;

/// The broker's secret there.
pub const CLIENT_SECRET: &str = "the-broker-is-who-it-says";

/// A provider at work.
#[derive(Debug)]
pub struct People {
    /// Its issuer.
    pub url: String,
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl People {
    /// Starts one for a broker that takes its answers at `back`, with somebody for each role and somebody with none.
    pub fn start(back: &str) -> Result<Self> {
        let mut child = issuer_script("people_provider.js", "oidc-provider")?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the provider of people")?;
        let commands = child.stdin.take().context("the provider has no input")?;
        let answers = BufReader::new(child.stdout.take().context("the provider has no output")?);
        let mut people = Self { url: String::new(), child, commands, answers };
        let hello = people.answer()?;
        hello.get("url").and_then(Value::as_str).context("no address")?.clone_into(&mut people.url);
        let person = |name: &str, group: &str| json!({ "name": name, "email": format!("{group}@example.com"), "groups": [group] });
        people.tell(&json!({ "people": {
            "vera": person("Vera Viewer", "engineering"),
            "ann": person("Ann Approver", "dba"),
            "bob": person("Bob Approver", "dba"),
            "olga": person("Olga Auditor", "security"),
            "adam": person("Adam Admin", "admins"),
            "nils": person("Nils Nobody", "sales"),
        } }))?;
        people.tell(&json!({ "client": { "back": back, "secret": CLIENT_SECRET } }))?;
        Ok(people)
    }

    /// Has it do something.
    pub fn tell(&mut self, command: &Value) -> Result<()> {
        writeln!(self.commands, "{command}")?;
        self.commands.flush()?;
        let answer = self.answer()?;
        match answer.get("error") {
            Some(error) => bail!("the provider: {error}"),
            None => Ok(()),
        }
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the provider says `{line}`"))
    }
}

impl Drop for People {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

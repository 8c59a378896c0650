//! `guard session start`: starts the agent and waits until its session is open.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use guard_core::SessionId;
use serde::{Deserialize, Serialize};

use super::{
    super::{FAILED, open::Asked},
    AgentError, Start,
    attached::{asked, unexpected},
    commands::block_on,
    wire::{AGENT, Ask, Said, Status},
};
use crate::{
    sandbox,
    words::{chain, say},
};

/// What an agent says when its session is open.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) socket: PathBuf,
    pub(super) session: SessionId,
}

/// Starts a session, or takes the one that is there and was asked for alike.
pub(super) fn main(start: &Start) -> ExitCode {
    // The platform's tokens are in its environment until it is gone.
    if let Err(error) = sandbox::hide_memory() {
        say(&format!("the shim's memory cannot be hidden from the command: {error}"));
        return ExitCode::from(FAILED);
    }
    let result = match there() {
        Some((socket, status)) => same(start, socket, &status),
        None => new(),
    };
    match result {
        Ok(Ok(socket)) => print(start, &socket),
        Ok(Err(code)) => code,
        Err(error) => {
            say(&chain(&error));
            ExitCode::from(FAILED)
        }
    }
}

/// The session that the environment names, if its agent is there.
fn there() -> Option<(PathBuf, Status)> {
    let socket = env::var_os(AGENT).filter(|path| !path.is_empty()).map(PathBuf::from)?;
    match block_on(asked(&socket, &Ask::Status)) {
        Ok((Said::Status(status), _)) => Some((socket, *status)),
        Ok(_) | Err(_) => {
            say("the session that GUARD_SESSION names is over: another one is opened");
            None
        }
    }
}

type Started = Result<Result<PathBuf, ExitCode>, AgentError>;

fn same(start: &Start, socket: PathBuf, status: &Status) -> Started {
    let id = status.session;
    if wishes(&start.asked) == status.asked {
        say(&format!("session {id} is open already, and goes on"));
        return Ok(Ok(socket));
    }
    let asked = match status.asked.as_slice() {
        [] => "without options".to_owned(),
        options => format!("with `{}`", options.join(" ")),
    };
    say(&format!(
        "session {id} is open already, and was asked for {asked}: end it with `guard session stop` before you start another"
    ));
    Ok(Err(ExitCode::from(FAILED)))
}

/// What makes one session another.
pub(super) fn wishes(asked: &Asked) -> Vec<String> {
    let mut resources: Vec<_> =
        asked.resources.iter().map(|name| format!("--resource {name}")).collect();
    resources.sort();
    let broker = asked.broker.iter().map(|url| format!("--broker {}", url.trim_end_matches('/')));
    let audience = asked.token.audience.iter().map(|audience| format!("--audience {audience}"));
    broker.chain(resources).chain(audience).collect()
}

fn new() -> Started {
    let program = env::current_exe().map_err(AgentError::Start)?;
    let mut arguments: Vec<_> = env::args_os().skip(1).collect();
    // INVARIANT: clap found `session start` as the first two words, since nothing may stand before them.
    if let Some(word) = arguments.get_mut(1) {
        *word = "agent".into();
    }
    let mut command = Command::new(program);
    // What it has to say until it is there is for whoever waits.
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    sandbox::detach(&mut command);
    let mut agent = command.spawn().map_err(AgentError::Start)?;
    let mut line = String::new();
    if let Some(out) = agent.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(AgentError::Start)?;
    }
    if line.is_empty() {
        let status = agent.wait().map_err(AgentError::Start)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
        return Ok(Err(ExitCode::from(code.unwrap_or(FAILED))));
    }
    let ready: Ready = serde_json::from_str(&line).map_err(|_| unexpected())?;
    say(&format!("session {} is open for the runs that follow", ready.session));
    Ok(Ok(ready.socket))
}

fn print(start: &Start, socket: &Path) -> ExitCode {
    let path = socket.display().to_string();
    let line = if start.export {
        format!("export {AGENT}='{}'\n", path.replace('\'', "'\\''"))
    } else {
        format!("{AGENT}={path}\n")
    };
    match std::io::stdout().write_all(line.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("where the session's agent is cannot be told: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

//! `guard session status` and `guard session stop`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use super::{
    super::{FAILED, finish::summarize},
    AgentError, FailOn, Status as StatusArgs, Stop,
    attached::unexpected,
    ended, socket,
    wire::{Ask, Ended, RunState, Said, Status, receive, send},
};
use crate::{
    command::lock::LockError,
    words::{chain, say},
};

/// Exit code of a session in which statements were refused, where that is asked for.
const BLOCKED: u8 = 1;

/// Runs one exchange with an agent.
pub(super) fn block_on<T>(
    exchange: impl Future<Output = Result<T, AgentError>>,
) -> Result<T, AgentError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(AgentError::Start)?.block_on(exchange)
}

/// Says what the session is.
pub(super) fn status(args: &StatusArgs) -> ExitCode {
    let status = match block_on(super::attached::asked(&args.place.session, &Ask::Status)) {
        Ok((Said::Status(status), _)) => status,
        Ok(_) => return failed(&unexpected()),
        Err(error) => return failed(&error),
    };
    let shown = if args.json {
        serde_json::to_string_pretty(&status).map(|text| text + "\n").map_err(io::Error::other)
    } else {
        Ok(shown(&status))
    };
    let written = shown.and_then(|text| io::stdout().write_all(text.as_bytes()));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("the session cannot be shown: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn shown(status: &Status) -> String {
    let resources: Vec<_> = status
        .resources
        .iter()
        .map(|(resource, policy)| format!("`{resource}` by policy `{policy}`"))
        .collect();
    let mut lines = vec![format!(
        "session {}, until {}: {}",
        status.session,
        status.until.strftime("%Y-%m-%d %H:%M:%S UTC"),
        resources.join("; ")
    )];
    if let Some(level) = status.isolation {
        lines.push(format!("isolation of each command: {level}"));
    }
    for run in &status.runs {
        let name = run.name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
        let state = match (run.state, run.exit_code) {
            (RunState::Attached, _) => "attached".to_owned(),
            (RunState::Finished, Some(code)) => format!("ended with {code}"),
            (RunState::Finished, None) => "ended".to_owned(),
            (RunState::Lost, _) => "killed".to_owned(),
        };
        let counts = run.counts;
        lines.push(format!(
            "run {}{name}: {state}; {} executed, {} refused, {} masked",
            run.number, counts.allowed, counts.refused, counts.masked
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Ends the session.
pub(super) fn stop(args: &Stop) -> ExitCode {
    let path = &args.place.session;
    let ended = match block_on(ask_to_stop(args)) {
        Ok(ended) => ended,
        Err(error @ AgentError::Gone(..)) => match ended::found(path) {
            Some(ended) => {
                say("the session had ended before");
                ended
            }
            None => return failed(&error),
        },
        Err(error) => return failed(&error),
    };
    ended.lines.iter().for_each(|line| say(line));
    if let Err(error) = learn(args, &ended) {
        return failed(&error);
    }
    verdict(&ended, args.fail_on)
}

async fn ask_to_stop(args: &Stop) -> Result<Ended, AgentError> {
    let report = args.report.as_ref().map(std::path::absolute).transpose();
    let report = report.map_err(AgentError::Folder)?;
    let mut stream = socket::connect(&args.place.session).await?;
    send(&mut stream, &Ask::Stop { report }).await.map_err(AgentError::Garbled)?;
    // Without a deadline: the agent has its own for everything that it does.
    let said = receive(&mut stream).await.map_err(AgentError::Garbled)?.ok_or_else(unexpected)?;
    if let Said::Refused(why) = said {
        return Err(AgentError::Refused(why));
    }
    let Said::Ended(ended) = said else { return Err(unexpected()) };
    if let Err(error) = summarize(&ended.markdown) {
        say(&chain(&error));
    }
    Ok(*ended)
}

/// Adds what the session's runs did to the lock that was asked for. A lock that cannot be used keeps no session open.
fn learn(args: &Stop, ended: &Ended) -> Result<(), LockError> {
    if let (Some(record), Some(learning)) = (&ended.record, args.learn.begin()?) {
        learning.add(record)?.iter().for_each(|line| say(line));
    }
    Ok(())
}

fn verdict(ended: &Ended, fail_on: FailOn) -> ExitCode {
    if let Some(problem) = &ended.problem {
        say(problem);
        return ExitCode::from(FAILED);
    }
    match fail_on {
        FailOn::Blocked if ended.refused > 0 => ExitCode::from(BLOCKED),
        FailOn::Blocked | FailOn::Error => ExitCode::SUCCESS,
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    say(&chain(error));
    ExitCode::from(FAILED)
}

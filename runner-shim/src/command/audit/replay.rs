//! `guard audit replay`: a session in its order, with its pauses.

mod keys;
mod player;
mod shown;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use guard_audit::{
    ReadError, RecordReader,
    story::{Story, What},
};
use guard_core::Timestamp;

use self::{keys::Keys, player::Player};
use super::{BROKEN, Unusable, WHOLE, open, printable};
use crate::command::paint::Paint;

const AFTER_HELP: &str = "\
Examples:
  guard audit replay record.jsonl
  guard audit replay record.jsonl --speed 10 --max-pause 500ms
  guard audit replay record.jsonl --no-wait | less

Keys, where standard input and output are a terminal: space pauses and goes on, + is faster, - is slower, n shows the
next statement at once, q quits. Where standard output is no terminal it does not wait. What the job named is shown as text: nothing in it moves the
cursor, colours or hides. The seal is not checked: `guard audit verify` does that.
Exit codes: 0, 1 if the record is broken (what stands before the break was shown), 2 if it cannot be read.";

/// Arguments of `guard audit replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The record (`*.jsonl`)
    record: PathBuf,
    /// So many times as fast as it was: 0.25 is slower
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// No pause is longer: `500ms`, `2s`, `1m`
    #[arg(long, default_value = "2s", value_parser = pause_length, value_name = "TIME")]
    max_pause: Duration,
    /// Show all at once
    #[arg(long)]
    no_wait: bool,
    /// Show texts whole
    #[arg(long)]
    full: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (player::SLOWEST..=player::FASTEST).contains(&speed) {
        Ok(speed)
    } else {
        Err(format!("`{text}` is no speed: use 0.001 to 1000000"))
    }
}

fn pause_length(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: use `500ms`, `2s`, `1m`");
    let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    // Longer than a session lives.
    millis.filter(|millis| *millis <= 86_400_000).map(Duration::from_millis).ok_or_else(wrong)
}

/// The time between two moments.
fn between(before: Option<Timestamp>, at: Timestamp) -> Duration {
    let between = before.map(|before| Duration::try_from(at.duration_since(before)));
    // A clock that was set back has no pause.
    between.and_then(Result::ok).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a session's pauses are what is shown")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// What ends a replay before the record does.
enum Stopped {
    /// Nobody looks any more, or somebody has seen enough.
    Unseen,
    Unread(ReadError),
    Unwritten(io::Error),
}

impl From<ReadError> for Stopped {
    fn from(error: ReadError) -> Self {
        Self::Unread(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Unseen
        } else {
            Self::Unwritten(error)
        }
    }
}

/// Runs the command.
pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let mut reader = RecordReader::new(open(&args.record)?);
    let mut stdout = io::stdout().lock();
    let waits = !args.no_wait && io::stdout().is_terminal();
    let keys = if waits { Keys::listen() } else { None };
    let mut player = Player::new(args.speed, args.max_pause);
    let look = shown::Look { paint: Paint::for_stdout(), full: args.full };
    let (mut before, mut began) = (None, None);
    let told = Story::tell(&mut reader, |story, moment| {
        let began = *began.get_or_insert(moment.at);
        let text = look.moment(story, &moment, began);
        if text.is_empty() {
            return Ok(());
        }
        let statement = matches!(moment.what, What::Sent(_) | What::Refused(..));
        player.coming(between(before, moment.at), statement);
        match &keys {
            Some(keys) => keys.wait(&mut player, &mut stdout)?,
            None if waits => wait(player.wait().unwrap_or_default()),
            None => {}
        }
        before = Some(moment.at);
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Stopped::from)
    });
    drop(keys);
    match told {
        Ok(_) | Err(Stopped::Unseen) => Ok(WHOLE),
        Err(Stopped::Unread(ReadError::Broken(broken))) => {
            let words = format!("the record is broken: {broken}");
            let _ = writeln!(io::stderr(), "guard: {}", printable(&words));
            Ok(BROKEN)
        }
        Err(Stopped::Unread(ReadError::Read(source))) => {
            Err(Unusable::Read { path: args.record.display().to_string(), source })
        }
        Err(Stopped::Unwritten(source)) => {
            Err(Unusable::Write { path: "standard output".to_owned(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn times_are_those_of_the_record_and_arguments_have_bounds() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (first, later) = (at("2026-11-21T02:00:00Z"), at("2026-11-21T02:00:03Z"));
        for (before, at, expected) in [
            (None, later, 0),
            (Some(first), later, 3),
            (Some(first), first, 0),
            (Some(later), first, 0),
        ] {
            assert_eq!(between(before, at), Duration::from_secs(expected));
        }
        assert_eq!(pause_length("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(pause_length("1m"), Ok(Duration::from_secs(60)));
        for wrong in ["", "5", "ms", "-1s", "2h", "99999999999999999999s", "é"] {
            assert!(pause_length(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0", "-1", "nan", "inf", "fast"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }
}

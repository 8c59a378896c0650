//! A moment of a session as lines of a terminal.

use guard_audit::{
    Cell, Event, Outcome, Row, Side, StatementPhase,
    report::{beginning, duration, grouped, printable, size},
    story::{Moment, Opening, Story, ToldConnection, ToldStatement, What},
};
use guard_core::{Certainty, Denial, Timestamp};

use crate::command::paint::Paint;

/// Lines of a text that are shown, and characters of each, unless all are asked for.
const MAX_LINES: usize = 20;
const MAX_CHARS: usize = 400;
/// Characters of a value in a table.
const MAX_CELL: usize = 60;
/// Effects that are named.
const MAX_EFFECTS: usize = 8;
/// Below the time of a moment.
const INDENT: &str = "               ";

/// How moments are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) paint: Paint,
    pub(super) full: bool,
}

impl Look {
    /// The lines of a moment; none for what is shown with another one.
    pub(super) fn moment(self, _story: &Story, moment: &Moment, began: Timestamp) -> String {
        let (head, more) = match &moment.what {
            What::Opened(opening) => return self.opening(opening),
            What::Connected(connection) => (
                format!(
                    "{} connected to {}, enforced at {}",
                    named(connection.client.reveal()),
                    place(connection),
                    connection.enforced_at
                ),
                who(Some(connection)),
            ),
            What::Disconnected(connection, reason) => (
                match reason {
                    None => "disconnected".to_owned(),
                    Some(reason) => format!("disconnected: {reason}"),
                },
                who(Some(connection)),
            ),
            What::Sent(statement) => return self.sent(moment.at, began, statement),
            What::Refused(statement, denial) => {
                return self.refused(moment.at, began, statement, denial);
            }
            What::Rows(_, columns, rows) => return self.rows(columns.as_deref(), rows),
            What::Finished(statement, outcome) => {
                return self.finished(moment.at, began, statement, outcome);
            }
            What::Other(event) => match other(event) {
                Some(words) => (words, "broker".to_owned()),
                None => return String::new(),
            },
            What::Described(_) => return String::new(),
            What::Orphan => {
                ("an entry speaks of what the record does not have".to_owned(), String::new())
            }
        };
        self.line(moment.at, began, &more, &printable(&head))
    }

    fn opening(self, opening: &Opening) -> String {
        let identity = &opening.identity;
        let mut text =
            format!("{}\n", printable(&format!("session {} of {}", opening.session, identity.run)));
        let head = format!(
            "{} on {}, started by {} ({}), let in by trust rule `{}` at {}",
            identity.repository,
            identity.git_ref,
            identity.actor,
            identity.event,
            opening.trust_rule,
            opening.at
        );
        text.push_str(&format!("{}\n", printable(&head)));
        for grant in &opening.grants {
            let words = format!(
                "  `{}` by policy `{}` until {}, enforced at {}{}",
                grant.grant.resource,
                grant.grant.policy,
                grant.grant.until,
                grant.enforce_at,
                if grant.mode.enforces() { "" } else { "; it only OBSERVES" }
            );
            text.push_str(&format!("{}\n", printable(&words)));
        }
        text
    }

    fn sent(self, at: Timestamp, began: Timestamp, statement: &ToldStatement) -> String {
        let operation = &statement.operation;
        let phase = match statement.phase {
            Some(StatementPhase::Prepare) => " made ready",
            Some(StatementPhase::Execute) | None => "",
        };
        let head = format!("{}{phase}: {}", operation.label, effects(statement));
        let mut text =
            self.line(at, began, &who(statement.connection.as_deref()), &printable(&head));
        text.push_str(&self.text(statement.text()));
        let mut ruling = format!("{} by rule `{}`", operation.decision, operation.rule);
        if let Some(approval) = statement.approval {
            ruling.push_str(&format!(", approval {approval}"));
        }
        if let Some(rows) = statement.estimated_rows {
            ruling.push_str(&format!(", {} rows expected", grouped(rows)));
        }
        let ruling = match &statement.would_refuse {
            None => self.paint.good(&ruling),
            Some(denial) => {
                self.paint.bad(&printable(&format!("went on, the policy only observes: {denial}")))
            }
        };
        text.push_str(&format!("{INDENT}{ruling}\n"));
        text
    }

    fn refused(
        self,
        at: Timestamp,
        began: Timestamp,
        statement: &ToldStatement,
        denial: &Denial,
    ) -> String {
        let head = format!("{}: {}", statement.operation.label, effects(statement));
        let mut text =
            self.line(at, began, &who(statement.connection.as_deref()), &printable(&head));
        text.push_str(&self.text(statement.text()));
        let words = self.paint.bad(&printable(&denial.to_string()));
        text.push_str(&format!("{INDENT}{words}\n"));
        for more in [&denial.detail, &denial.hint].into_iter().flatten() {
            text.push_str(&format!("{INDENT}{}\n", self.paint.faint(&printable(more))));
        }
        text
    }

    fn finished(
        self,
        at: Timestamp,
        began: Timestamp,
        statement: &ToldStatement,
        outcome: &Outcome,
    ) -> String {
        if statement.phase == Some(StatementPhase::Prepare) && outcome.error.is_none() {
            return String::new();
        }
        let what = match outcome.status {
            Some(status) => format!("status {status}"),
            None => format!("{} rows", grouped(outcome.rows)),
        };
        let mut words =
            format!("→ {what}, {} in {}", size(outcome.bytes), duration(outcome.micros));
        if let Some(kept) = outcome.kept.filter(|kept| kept.truncated) {
            match outcome.status {
                Some(_) => words.push_str(", of which the beginning is in the record"),
                None => {
                    let kept = grouped(kept.rows);
                    words.push_str(&format!(", of which {kept} are in the record"));
                }
            }
        }
        if outcome.masked > 0 {
            words.push_str(&format!(", {} values masked", grouped(outcome.masked)));
        }
        if let Some(exceeded) = &outcome.budget {
            words.push_str(&format!(", over the budget `{exceeded}`"));
        }
        let words = match outcome.error.as_deref() {
            None => words,
            Some("lost") => self.paint.bad("→ the answer never came to its end"),
            Some(code) => self
                .paint
                .bad(&printable(&format!("→ error {code} after {}", duration(outcome.micros)))),
        };
        let delay = at.duration_since(statement.at).as_millis();
        let who = who(statement.connection.as_deref());
        // The text stands above, unless others came between.
        let which =
            if delay > 200 { format!(" ({})", statement.operation.label) } else { String::new() };
        self.line(at, began, &who, &format!("{words}{}", printable(&which)))
    }

    fn line(self, at: Timestamp, began: Timestamp, who: &str, words: &str) -> String {
        let since = at.duration_since(began);
        let millis = since.as_millis().max(0);
        let (minutes, seconds, rest) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
        let time = self.paint.faint(&format!("{minutes:>3}:{seconds:02}.{rest:03}"));
        let who = if who.is_empty() { String::new() } else { format!("{} ", printable(who)) };
        format!("{time}  {who}{words}\n")
    }

    /// Rows that the client got, as a table with nothing in it that a terminal would obey.
    fn rows(self, columns: Option<&[String]>, rows: &[Row]) -> String {
        let (lines, chars) =
            if self.full { (usize::MAX, usize::MAX) } else { (MAX_LINES, MAX_CELL) };
        let text = |text: &str| beginning(&printable(text), chars).into_owned();
        let mut table: Vec<Vec<String>> = Vec::new();
        table.extend(columns.map(|names| names.iter().map(|name| text(name)).collect()));
        let cell = |cell: &Option<Cell>| match cell {
            None => "NULL".to_owned(),
            Some(Cell::Text(value)) => text(value),
            Some(Cell::Binary { base64 }) => text(&format!("base64 {base64}")),
        };
        table.extend(rows.iter().take(lines).map(|row| row.iter().map(cell).collect()));
        let mut widths: Vec<usize> = Vec::new();
        for row in &table {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut shown = String::new();
        for (number, row) in table.iter().enumerate() {
            let cells: Vec<_> =
                row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            let line = cells.join(" │ ");
            let line = line.trim_end();
            let head = number == 0 && columns.is_some();
            let line = if head { self.paint.faint(line) } else { line.to_owned() };
            shown.push_str(&format!("{INDENT}{line}\n"));
        }
        let left = rows.len().saturating_sub(lines);
        if left > 0 {
            shown.push_str(&format!("{INDENT}… and {} more rows\n", grouped(left as u64)));
        }
        shown
    }

    /// A text of the job, line by line, with nothing in it that a terminal would obey.
    fn text(self, sql: &str) -> String {
        let (lines, chars) =
            if self.full { (usize::MAX, usize::MAX) } else { (MAX_LINES, MAX_CHARS) };
        let mut text = String::new();
        let all = sql.trim_end().lines();
        for line in all.clone().take(lines) {
            let mut shown: String = line.chars().take(chars).collect();
            if shown.len() < line.len() {
                shown.push('…');
            }
            text.push_str(&format!("{INDENT}{}\n", printable(&shown)));
        }
        let left = all.count().saturating_sub(lines);
        if left > 0 {
            text.push_str(&format!("{INDENT}… and {left} more lines\n"));
        }
        text
    }
}

fn who(connection: Option<&ToldConnection>) -> String {
    match connection {
        Some(connection) => format!("{} #{}", connection.resource, connection.number),
        None => String::new(),
    }
}

/// What a client is connected to.
fn place(connection: &ToldConnection) -> String {
    if connection.database.is_empty() {
        format!("`{}`", connection.resource)
    } else {
        format!("database `{}`", connection.database)
    }
}

fn named(client: &str) -> &str {
    if client.is_empty() { "a client" } else { client }
}

fn effects(statement: &ToldStatement) -> String {
    let operation = &statement.operation;
    let named: Vec<_> =
        operation.effects.iter().take(MAX_EFFECTS).map(ToString::to_string).collect();
    let mut words = if named.is_empty() { "no effect".to_owned() } else { named.join(", ") };
    if operation.effects.len() > MAX_EFFECTS {
        words.push_str(&format!(" and {} more", operation.effects.len() - MAX_EFFECTS));
    }
    match &operation.certainty {
        Certainty::Exact => {}
        Certainty::Partial(why) => words.push_str(&format!("; not understood in full: {why}")),
        Certainty::Unparsed(why) => words.push_str(&format!("; not understood: {why}")),
    }
    words
}

/// What the broker did or heard.
fn other(event: &Event) -> Option<String> {
    let people = |by: &[guard_core::PersonRef]| {
        let names: Vec<_> = by.iter().map(|person| person.name.clone()).collect();
        if names.is_empty() { String::new() } else { format!(", by {}", names.join(", ")) }
    };
    Some(match event {
        Event::AttemptRefused { .. } => {
            "the same job asked for another session, and was refused".to_owned()
        }
        Event::Isolated { level, .. } => format!("a command is run at isolation `{level}`"),
        Event::EgressAsked { host, port, refused, step, .. } => {
            let step = step.map_or_else(String::new, |step| format!(" (step {step})"));
            match refused {
                None => format!("a command{step} goes to {host}:{port}"),
                Some(why) => format!("a command{step} may not go to {host}:{port}: {why}"),
            }
        }
        Event::EgressEnded { outcome, .. } => match (&outcome.refused, &outcome.failed) {
            (Some(why), _) | (None, Some(why)) => format!("its connection did not go on: {why}"),
            (None, None) => format!(
                "its connection is over: {} bytes sent, {} received",
                outcome.sent, outcome.received
            ),
        },
        Event::SessionRenewed { until } => format!("the session goes on until {until}"),
        Event::LeaseTaken { resource, username, holder, .. } => {
            format!("credential `{username}` of `{resource}` taken by {holder}")
        }
        Event::LeaseReleased { problem: None, .. } => "credential given back".to_owned(),
        Event::LeaseReleased { problem: Some(problem), .. } => {
            format!("credential not given back: {problem}")
        }
        Event::ApprovalAsked { approval, until, .. } => {
            format!("people are asked, until {until}: approval {approval}")
        }
        Event::ApprovalDecided { approval, state, by, reasons } => {
            let reasons: Vec<_> = reasons.iter().map(|reason| reason.reveal().as_str()).collect();
            let why = if reasons.is_empty() {
                String::new()
            } else {
                format!(": {}", reasons.join("; "))
            };
            format!("approval {approval} is {}{}{why}", state.as_str(), people(by))
        }
        Event::ApprovalUsed { approval, by, .. } => {
            format!("goes on by approval {approval}{}", people(by))
        }
        Event::Traffic { connection, from, length, truncated: true, .. } => {
            let more = size(*length);
            let from = match from {
                Side::Client => "client",
                Side::Server => "server",
            };
            format!(
                "connection {connection}: bytes of the {from} are kept no further, from {more} on"
            )
        }
        // They are for tools that know the protocol.
        Event::Traffic { .. } => return None,
        Event::SessionEnded { reason, exit_code, note } => {
            let mut words = reason.to_string();
            if let Some(code) = exit_code {
                words.push_str(&format!(", exit code {code}"));
            }
            if let Some(note) = note {
                words.push_str(&format!(": {note}"));
            }
            words
        }
        // They are told with what they refer to.
        Event::SessionOpened { .. }
        | Event::Connected { .. }
        | Event::Disconnected { .. }
        | Event::Operation { .. }
        | Event::Statement { .. }
        | Event::Refused { .. }
        | Event::Rows { .. }
        | Event::Finished { .. } => return None,
    })
}

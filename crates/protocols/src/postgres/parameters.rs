//! What a client brings along in its start-up packet: the same settings that it could make by `SET`, and so
//! judged the same.

use std::sync::Arc;

use guard_core::Denial;
use guard_gate::{Ask, Estimate, Gate, Outcome, Permit, StatementPhase, Verdict};

use super::{names::Known, understand::Understanding};
use crate::ProtocolError;

/// Settings that every driver sends and that change nothing but forms and limits of the client's own connection.
/// How texts are read in a `client_encoding` follows from what the server reports.
const HARMLESS: [&str; 9] = [
    "client_encoding",
    "datestyle",
    "extra_float_digits",
    "geqo",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "statement_timeout",
    "timezone",
];

/// Keeps the server's transactions from writing.
const READ_ONLY: &[u8] = b"default_transaction_read_only";

/// What a start-up packet holds besides settings.
const RESERVED: [&str; 4] = ["user", "database", "options", "replication"];

/// What a client asks for.
pub(super) struct Asked {
    /// The database, if it names one.
    pub(super) database: Option<String>,
    /// What it calls itself.
    pub(super) application: String,
    replication: Option<String>,
    settings: Vec<(String, String)>,
}

/// What it gets.
pub(super) struct Judged {
    /// The parameters of the start-up packet to the server.
    pub(super) parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// The server will take commands of the replication protocol.
    pub(super) replication: bool,
    permits: Vec<Permit>,
}

/// Why it gets nothing.
pub(super) enum NotAllowed {
    /// It is refused.
    Denied(Box<Denial>),
    /// It could not be judged.
    Broken(ProtocolError),
}

// === impl Asked ===

impl Asked {
    /// Sorts the parameters of a start-up packet. The user's name is not looked at: the lease has its own.
    pub(super) fn read(parameters: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, String> {
        let mut asked = Self {
            database: None,
            application: String::new(),
            replication: None,
            settings: Vec::new(),
        };
        for (name, value) in parameters {
            let (Ok(name), Ok(value)) = (String::from_utf8(name), String::from_utf8(value)) else {
                return Err("a start-up parameter is not UTF-8".into());
            };
            match name.as_str() {
                "user" => {}
                "database" => asked.database = Some(value),
                "replication" => asked.replication = Some(value),
                "options" => asked.read_options(&value)?,
                _ => asked.set(&name, value)?,
            }
        }
        asked.forget_database_of_replication();
        Ok(asked)
    }

    /// Takes out the name of a database where the server will not look at it either: a connection for physical
    /// replication has none, and clients give one all the same. Spelled otherwise than here it keeps its name: what
    /// the server took for no replication would be a connection to that database.
    fn forget_database_of_replication(&mut self) {
        if matches!(self.replication.as_deref(), Some("true" | "on" | "yes" | "1")) {
            self.database = None;
        }
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let known = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
        if !known || name.is_empty() {
            return Err(format!("the start-up parameter `{name}` has a name that no setting has"));
        }
        let name = name.to_ascii_lowercase();
        // Settings have their names in any case; what else a start-up packet holds is looked at above, in the
        // one case that the server knows it by. In small letters it would be that.
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("the start-up parameter `{name}` is no setting"));
        }
        if name == "application_name" {
            self.application = value;
        } else {
            self.settings.push((name, value));
        }
        Ok(())
    }

    /// Command-line options of a server process: of them only settings are taken.
    fn read_options(&mut self, options: &str) -> Result<(), String> {
        let mut words = split_options(options).into_iter();
        while let Some(word) = words.next() {
            let setting = match (word.strip_prefix("-c"), word.strip_prefix("--")) {
                (_, Some(setting)) => {
                    let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
                    format!("{}={value}", name.replace('-', "_"))
                }
                (Some(""), None) => words.next().unwrap_or_default(),
                (Some(setting), None) => setting.to_owned(),
                (None, None) => {
                    return Err(format!("the option `{word}` is not taken; use -c name=value"));
                }
            };
            let Some((name, value)) = setting.split_once('=') else {
                return Err(format!("the option `{setting}` has no value; use -c name=value"));
            };
            self.set(name.trim(), value.to_owned())?;
        }
        Ok(())
    }

    /// Asks the gate for all that is not harmless. `database` is the one that is granted.
    pub(super) async fn judge(
        self,
        database: &str,
        gate: &Gate,
        understanding: &Understanding,
    ) -> Result<Judged, NotAllowed> {
        let mut asks = Vec::new();
        let mut ask = |operation| {
            asks.push(Ask {
                operation,
                phase: StatementPhase::Execute,
                text: None,
                estimate: Estimate::Unknown("it is no statement"),
                context: guard_gate::Context::default(),
            });
        };
        let mut parameters: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut replicates = false;
        if let Some(replication) = self.replication {
            // Off, as libpq spells it: the same as not to ask.
            if !matches!(replication.as_str(), "false" | "off" | "no" | "0") {
                ask(Arc::new(guard_sql::replication(&format!("replication={replication}"))));
                parameters.push((b"replication".to_vec(), replication.into_bytes()));
                replicates = true;
            }
        }
        for (name, value) in &self.settings {
            if !HARMLESS.contains(&name.as_str()) {
                let text = format!("SET {name} TO '{}'", value.replace('\'', "''"));
                let understood = understanding.read(&text, &Known::default()).await;
                let understood = understood.map_err(NotAllowed::Broken)?;
                for statement in &understood.statements {
                    ask(statement.operation.clone());
                }
            }
        }
        let permits = if asks.is_empty() {
            Vec::new()
        } else {
            match gate.judge(&asks).await {
                Verdict::Forward(permits) => permits,
                Verdict::Refuse { index: _, denial } => return Err(NotAllowed::Denied(denial)),
                // A connection that is not there yet does not wait: what it asked is taken back.
                Verdict::Held(held) => {
                    return Err(NotAllowed::Denied(gate.not_at_the_start(&held)));
                }
                Verdict::Estimate(_) => {
                    let error = "the gate wants an estimate of a setting".to_owned();
                    return Err(NotAllowed::Broken(ProtocolError::Guard(error)));
                }
            }
        };
        let mut give = |name: &str, value: String| {
            parameters.push((name.as_bytes().to_vec(), value.into_bytes()));
        };
        // Always: the server's default is a database named like the leased role.
        give("database", database.to_owned());
        give("application_name", self.application);
        // Before the client's own, which counts where it was allowed; the role's default never does.
        give("standard_conforming_strings", "on".into());
        for (name, value) in self.settings {
            give(&name, value);
        }
        if gate.reads_only() {
            // Behind the client's own, so that it counts: the second lock, for what guard cannot see.
            parameters.push((READ_ONLY.to_vec(), b"on".to_vec()));
        }
        Ok(Judged { parameters, replication: replicates, permits })
    }
}

impl Judged {
    /// The server has taken them.
    pub(super) fn done(self) {
        for permit in self.permits {
            permit.spend().finish(Outcome::default());
        }
    }
}

/// Splits as PostgreSQL does (`pg_split_opts`): at white space that has no backslash before it.
fn split_options(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        if character.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        let taken = if character == '\\' { characters.next() } else { Some(character) };
        word.get_or_insert_default().extend(taken);
    }
    words.extend(word);
    words
}

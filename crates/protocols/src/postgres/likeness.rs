//! What another connection needs to read statements as a client's does: how it began, what the server reports of its
//! settings, and whether more may differ.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use guard_core::{Certainty, Effect, ObjectKind, Operation, Verb};

/// Longest parameters of a Bind that are kept for the planner, in bytes.
const MAX_KEPT: usize = 1 << 20;
/// Settings of a start-up packet that guard gives a value of its own.
const OWN: [&[u8]; 4] = [
    b"application_name",
    b"statement_timeout",
    b"lock_timeout",
    b"idle_in_transaction_session_timeout",
];

/// Settings that say how a statement is read. What the server reports of them is taken over.
const TAKEN_OVER: [&str; 6] = [
    "client_encoding",
    "datestyle",
    "intervalstyle",
    "search_path",
    "standard_conforming_strings",
    "timezone",
];

/// Settings on which it does not depend how many rows the planner expects.
const INDIFFERENT: [&str; 20] = [
    "application_name",
    "check_function_bodies",
    "client_min_messages",
    "commit_delay",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "escape_string_warning",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lc_messages",
    "lock_timeout",
    "maintenance_work_mem",
    "statement_timeout",
    "synchronous_commit",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
];

/// Why there is no estimate.
pub(super) type Unknown = &'static str;

/// Parameters of a start-up packet.
pub(super) type Parameters = Arc<[(Vec<u8>, Vec<u8>)]>;

/// What of a client's connection another one needs to be like it.
pub(super) struct Likeness {
    /// With which it began.
    pub(super) parameters: Parameters,
    /// Settings that the server reported.
    pub(super) reported: BTreeMap<String, Vec<u8>>,
    /// Why another one is not like it any more.
    pub(super) lost: Option<Unknown>,
}

/// The parameters of a portal.
pub(super) struct Bound {
    pub(super) types: Option<Arc<[i32]>>,
    /// Formats and values, as they stand in the Bind.
    pub(super) values: Bytes,
}

// === impl Likeness ===

impl Likeness {
    /// Of a connection that began with these parameters, and what the server said to them.
    pub(super) fn new(began: &[(Vec<u8>, Vec<u8>)], said: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let own = |name: &[u8]| OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
        let kept = began.iter().filter(|(name, _)| !own(name)).cloned();
        let mut likeness =
            Self { parameters: kept.collect(), reported: BTreeMap::new(), lost: None };
        for (name, value) in said {
            likeness.reported(name, value);
        }
        likeness
    }

    /// The server reports a setting.
    pub(super) fn reported(&mut self, name: &[u8], value: &[u8]) {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if TAKEN_OVER.contains(&name.as_str()) {
            self.reported.insert(name, value.to_vec());
        }
    }

    /// What sending an operation does to it: why it is lost, and whether the server will report something.
    pub(super) fn after(&self, operation: &Operation) -> (Option<Unknown>, bool) {
        match operation.certainty {
            Certainty::Exact => {}
            Certainty::Partial(_) | Certainty::Unparsed(_) => {
                return (Some("something ran before that is not understood in full"), false);
            }
        }
        match &*operation.label {
            "SHOW" => return (None, false),
            // Back to how it began, which the server reports.
            "RESET" | "DISCARD" => return (None, true),
            _ => {}
        }
        let mut reports = false;
        for effect in &operation.effects {
            if !may_set(effect) {
                continue;
            }
            let name = effect.object.name.as_ref().map(|name| &*name.name);
            match (effect.object.kind, name) {
                (ObjectKind::Setting, Some(name)) if INDIFFERENT.contains(&name) => {}
                (ObjectKind::Setting, Some(name)) if self.reported.contains_key(name) => {
                    reports = true;
                }
                _ => return (Some("a setting was changed on this connection"), reports),
            }
        }
        (None, reports)
    }
}

/// Whether an effect may change how statements are read or planned on its connection.
fn may_set(effect: &Effect) -> bool {
    match effect.verb {
        Verb::Config | Verb::Role => true,
        Verb::Session => effect.object.kind == ObjectKind::Setting,
        // A temporary one is found before others of its name.
        Verb::Create => effect.object.kind == ObjectKind::Type,
        Verb::Read
        | Verb::Insert
        | Verb::Update
        | Verb::Delete
        | Verb::Truncate
        | Verb::Alter
        | Verb::Drop
        | Verb::Grant
        | Verb::Call
        | Verb::Code
        | Verb::Program
        | Verb::File
        | Verb::Network
        | Verb::Signal
        | Verb::Transaction
        | Verb::Lock
        | Verb::Notify
        | Verb::Maintain
        | Verb::Replication => false,
    }
}

/// Whether an effect may change with which settings connections begin.
pub(super) fn may_set_defaults(effect: &Effect) -> bool {
    matches!(effect.verb, Verb::Config | Verb::Role | Verb::Alter)
        && matches!(effect.object.kind, ObjectKind::Role | ObjectKind::Database)
}

// === impl Bound ===

impl Bound {
    /// Keeps the parameters of a Bind, if they are not too long.
    pub(super) fn keep(types: Option<Arc<[i32]>>, values: &[u8]) -> Option<Arc<Self>> {
        let values = (values.len() <= MAX_KEPT).then(|| Bytes::copy_from_slice(values))?;
        Some(Arc::new(Self { types, values }))
    }
}

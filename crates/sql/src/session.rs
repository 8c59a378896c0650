//! Settings, transactions, cursors and prepared statements.

#[cfg(test)]
mod tests;

use guard_core::{ObjectKind, ObjectName, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{analyzer::Analyzer, functions, nodes::constant};

/// The settings that keep transactions from writing.
const READ_ONLY: [&str; 2] = ["transaction_read_only", "default_transaction_read_only"];

impl Analyzer<'_> {
    /// What giving a setting a value means.
    pub(crate) fn setting_verb(&mut self, name: &str, values: &[&str]) -> Verb {
        self.lifts_read_only(name, values.first().copied());
        let is_identity = |name: &str| matches!(name, "role" | "session_authorization");
        match name.to_ascii_lowercase() {
            name if is_identity(&name) => Verb::Role,
            name if functions::is_harmless_setting(&name, values) => Verb::Session,
            _ => Verb::Config,
        }
    }

    /// A setting gets a value, or the one that it began with.
    fn lifts_read_only(&mut self, name: &str, value: Option<&str>) {
        // `transaction_read_only` begins as `off` on the servers that can reset it, whatever the default is.
        let keeps = match value {
            Some(value) => functions::is_harmless_setting("transaction_read_only", &[value]),
            None => name.eq_ignore_ascii_case("default_transaction_read_only"),
        };
        let is_lock = READ_ONLY.iter().any(|lock| name.eq_ignore_ascii_case(lock));
        self.draft.lifts_read_only |= is_lock && !keeps;
    }

    /// `BEGIN`, `COMMIT`, and the options of a transaction.
    pub(crate) fn transaction(&mut self, statement: &pg::TransactionStmt) -> &'static str {
        self.draft.at(Verb::Transaction, ObjectKind::Other);
        for option in &statement.options {
            if let Some(NodeEnum::DefElem(option)) = &option.node {
                let value = option.arg.as_deref().and_then(constant).unwrap_or_default();
                self.lifts_read_only(&option.defname, Some(&value));
            }
        }
        transaction_label(statement.kind())
    }

    /// The settings with which a function is to run: whoever calls it gets them. Harmless ones are its own affair.
    pub(crate) fn function_settings(&mut self, options: &[pg::Node]) {
        for option in options {
            let Some(NodeEnum::DefElem(option)) = &option.node else { continue };
            let set = option.arg.as_deref().and_then(|arg| arg.node.as_ref());
            let Some(NodeEnum::VariableSetStmt(set)) = set else { continue };
            let name = set.name.to_ascii_lowercase();
            let verb = match set.kind() {
                pg::VariableSetKind::VarSetValue => {
                    let values: Vec<String> = set.args.iter().filter_map(constant).collect();
                    let words: Vec<&str> = values.iter().map(String::as_str).collect();
                    self.setting_verb(&name, &words)
                }
                // Options of a transaction, which no function has.
                pg::VariableSetKind::VarSetMulti | pg::VariableSetKind::Undefined => Verb::Config,
                // What the session has was judged when it got it.
                pg::VariableSetKind::VarSetDefault
                | pg::VariableSetKind::VarSetCurrent
                | pg::VariableSetKind::VarReset
                | pg::VariableSetKind::VarResetAll => Verb::Session,
            };
            if verb != Verb::Session {
                self.draft.on(verb, ObjectKind::Setting, ObjectName::bare(&name));
            }
        }
    }

    /// `SET` and `RESET`.
    pub(crate) fn set_variable(&mut self, set: &pg::VariableSetStmt) {
        use pg::VariableSetKind as Kind;
        let name = set.name.to_ascii_lowercase();
        match set.kind() {
            Kind::VarSetValue => {
                let values: Vec<String> = set.args.iter().filter_map(constant).collect();
                let words: Vec<&str> = values.iter().map(String::as_str).collect();
                let verb = self.setting_verb(&name, &words);
                self.draft.on(verb, ObjectKind::Setting, ObjectName::bare(&name));
            }
            // `SET TRANSACTION …`, `SET SESSION CHARACTERISTICS …`: each option is a setting.
            Kind::VarSetMulti => {
                for arg in &set.args {
                    let Some(NodeEnum::DefElem(option)) = &arg.node else { continue };
                    let value = option.arg.as_deref().and_then(constant).unwrap_or_default();
                    self.lifts_read_only(&option.defname, Some(&value));
                    let harmless = option.defname != "transaction_read_only"
                        || !name.contains("characteristics")
                        || matches!(value.as_str(), "1" | "true" | "on");
                    let verb = if harmless { Verb::Session } else { Verb::Config };
                    self.draft.on(verb, ObjectKind::Setting, ObjectName::bare(&option.defname));
                }
                if set.args.is_empty() || name.contains("snapshot") {
                    self.draft.on(Verb::Session, ObjectKind::Setting, ObjectName::bare(&name));
                }
            }
            // Back to what the session began with, which is what guard relies on.
            Kind::VarSetDefault | Kind::VarSetCurrent | Kind::VarReset | Kind::VarResetAll => {
                self.lifts_read_only(&name, None);
                let name = if name.is_empty() { "all" } else { &name };
                self.draft.on(Verb::Session, ObjectKind::Setting, ObjectName::bare(name));
            }
            Kind::Undefined => self.draft.doubt("a SET of a kind that guard does not know"),
        }
    }
}

fn transaction_label(kind: pg::TransactionStmtKind) -> &'static str {
    use pg::TransactionStmtKind as K;
    match kind {
        K::TransStmtBegin => "BEGIN",
        K::TransStmtStart => "START TRANSACTION",
        K::TransStmtCommit => "COMMIT",
        K::TransStmtRollback | K::TransStmtRollbackTo => "ROLLBACK",
        K::TransStmtSavepoint => "SAVEPOINT",
        K::TransStmtRelease => "RELEASE",
        K::TransStmtPrepare => "PREPARE TRANSACTION",
        K::TransStmtCommitPrepared => "COMMIT PREPARED",
        K::TransStmtRollbackPrepared => "ROLLBACK PREPARED",
        K::Undefined => "TRANSACTION",
    }
}

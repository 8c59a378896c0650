//! Settings, transactions, cursors and prepared statements.

use guard_core::{ObjectKind, ObjectName, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    analyzer::{Analyzer, constant},
    functions,
};

impl Analyzer<'_> {
    /// What giving a setting a value means.
    pub(crate) fn setting_verb(&self, name: &str, values: &[&str]) -> Verb {
        let is_identity = |name: &str| matches!(name, "role" | "session_authorization");
        match name.to_ascii_lowercase() {
            name if is_identity(&name) => Verb::Role,
            name if functions::is_harmless_setting(&name, values) => Verb::Session,
            _ => Verb::Config,
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
                let name = if name.is_empty() { "all" } else { &name };
                self.draft.on(Verb::Session, ObjectKind::Setting, ObjectName::bare(name));
            }
            Kind::Undefined => self.draft.doubt("a SET of a kind that guard does not know"),
        }
    }
}

pub(crate) fn transaction_label(kind: pg::TransactionStmtKind) -> &'static str {
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

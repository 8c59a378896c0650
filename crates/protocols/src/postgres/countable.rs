//! Which statements can be counted before what they did is committed.

use std::sync::Arc;

use guard_core::{Certainty, Operation, Verb};
use guard_sql::Statement;

/// Whether it adds, changes or removes rows.
pub(super) fn changes_rows(operation: &Operation) -> bool {
    let changes = |verb: Verb| matches!(verb, Verb::Insert | Verb::Update | Verb::Delete);
    operation.effects.iter().any(|effect| changes(effect.verb))
}

/// Whether the rows of a command tag were there before, and are changed now. Those of an INSERT or a COPY are taken for
/// such if it may overwrite others: by ON CONFLICT, the query of the COPY, a rule, or a trigger.
pub(super) fn counts_changes(operation: &Operation, tag: &[u8]) -> bool {
    let says = |verb: &[u8]| tag.starts_with(verb);
    let adds = says(b"INSERT") || says(b"COPY");
    says(b"UPDATE") || says(b"DELETE") || says(b"MERGE") || adds && overwrites(operation)
}

/// Whether it changes or removes rows that were there before.
pub(super) fn overwrites(operation: &Operation) -> bool {
    let changes = |verb: Verb| matches!(verb, Verb::Update | Verb::Delete);
    operation.effects.iter().any(|effect| changes(effect.verb))
}

/// Whether a statement alone in its message changes rows that its command tag counts, and can do so in a transaction.
pub(super) fn wraps_alone(operation: &Operation) -> bool {
    let makes = operation.effects.iter().any(|effect| effect.verb == Verb::Create);
    match operation.label.as_ref() {
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY" | "EXECUTE" => !operation.is_passive(),
        "SELECT" => makes || changes_rows(operation),
        "CREATE TABLE AS" | "CREATE MATERIALIZED VIEW" => true,
        _ => false,
    }
}

/// Whether nobody knows what it is, or it is a command of the replication protocol.
pub(super) fn is_open(operation: &Operation) -> bool {
    let replicates = operation.effects.iter().any(|effect| effect.verb == Verb::Replication);
    replicates || matches!(operation.certainty, Certainty::Unparsed(_))
}

pub(super) fn is_transaction(operation: &Operation) -> bool {
    operation.effects.iter().any(|effect| effect.verb == Verb::Transaction)
}

/// The first of several statements after which what others of them changed cannot be undone any more: it ends
/// their transaction, or is a savepoint behind them, to which the client could go back from guard's error.
pub(super) fn keeps_changes(statements: &[Arc<Statement>]) -> Option<&Arc<Statement>> {
    let mut changed = false;
    statements.iter().find(|statement| {
        let operation = &statement.operation;
        let keeps = changed && is_transaction(operation) && &*operation.label == "SAVEPOINT";
        changed |= !operation.is_passive();
        keeps || ends_transaction(operation)
    })
}

fn ends_transaction(operation: &Operation) -> bool {
    is_transaction(operation)
        && !matches!(
            operation.label.as_ref(),
            "BEGIN" | "START TRANSACTION" | "SAVEPOINT" | "RELEASE"
        )
}

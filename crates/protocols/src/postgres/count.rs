//! Counts rows and bytes of what the server sends.

use guard_gate::Admitted;

use super::frame::{Broken, HEADER, Run};

/// All of some messages: nothing bounds them.
pub(super) fn all(run: Run<'_>) -> Admitted {
    let (mut items, mut bytes) = (0, 0);
    for length in run {
        items += 1;
        bytes += length;
    }
    Admitted { items, bytes, exceeded: None }
}

/// Length of so many messages whose bodies have so many bytes together.
pub(super) fn length(messages: u64, bytes: u64) -> Result<usize, Broken> {
    let headers = messages.saturating_mul(HEADER as u64);
    usize::try_from(bytes.saturating_add(headers)).map_err(|_| Broken::Malformed("it is too long"))
}

/// Rows and bytes of CopyData messages from the server, which sends one for each row; the line of names and the
/// mark at the end are no rows. `begun` says whether some were there before.
pub(super) fn copied<'a>(
    lengths: impl Iterator<Item = u64> + Clone + 'a,
    statement: &guard_sql::Statement,
    begun: &mut bool,
) -> impl Iterator<Item = (u64, u64)> + Clone + 'a {
    let (header, binary) = match &statement.role {
        guard_sql::StatementRole::CopyOut(options) => (
            options.header && !std::mem::replace(begun, true),
            options.format == guard_sql::CopyFormat::Binary,
        ),
        guard_sql::StatementRole::Plain
        | guard_sql::StatementRole::Prepare { .. }
        | guard_sql::StatementRole::Deallocate(_)
        | guard_sql::StatementRole::Declare { .. }
        | guard_sql::StatementRole::Fetch(_)
        | guard_sql::StatementRole::Close(_)
        | guard_sql::StatementRole::CopyIn(_)
        | guard_sql::StatementRole::DiscardAll => (false, false),
    };
    lengths.enumerate().map(move |(place, bytes)| {
        let names = header && place == 0;
        let mark = binary && bytes == 2;
        (u64::from(!names && !mark), bytes)
    })
}

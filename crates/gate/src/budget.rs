//! What a session and its statements have used of their budgets.
//!
//! Counting takes no lock: connections of a session share two numbers, and each takes from them what it is
//! about to pass on. What was taken is never given back, whatever becomes of the transaction.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use guard_core::{Budget, Budgets, Exceeded, Mode};

/// Seconds of which statements are counted one by one: those of a minute, and the one that has begun.
const SECONDS: usize = 61;

/// What a session has used of its budgets.
pub(crate) struct Ledger {
    rows: AtomicU64,
    bytes: AtomicU64,
    changes: AtomicU64,
    /// The budget of the session that was used up first.
    spent: OnceLock<Exceeded>,
    pace: Mutex<Pace>,
    began: Instant,
}

/// Statements of the last minute, by the second in which they came. It keeps a whole number of seconds, so a
/// window is never shorter than a minute.
#[derive(Debug)]
struct Pace {
    counts: [u64; SECONDS],
    now: u64,
}

/// What one statement has used, over all parts in which its rows are fetched.
#[derive(Debug, Default)]
pub struct Used {
    rows: AtomicU64,
    bytes: AtomicU64,
    changes: AtomicU64,
    micros: AtomicU64,
}

/// Rows that the statements of a connection's transaction have updated, deleted or merged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transaction {
    changes: Arc<AtomicU64>,
}

/// Counts what a running statement uses.
pub struct Meter {
    ledger: Arc<Ledger>,
    transaction: Transaction,
    budgets: Budgets,
    mode: Mode,
    used: Arc<Used>,
    started: Instant,
    exceeded: Option<Exceeded>,
}

/// How much of some items may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// So many of them.
    pub items: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// The budget at which the next one would end the statement.
    pub exceeded: Option<Exceeded>,
}

/// What is left of each budget of rows or bytes at one moment.
struct Left {
    budgets: [(Budget, u64, u64); 4],
}

// === impl Ledger ===

impl Ledger {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            spent: OnceLock::new(),
            pace: Mutex::new(Pace { counts: [0; SECONDS], now: 0 }),
            began: Instant::now(),
        })
    }

    /// The budget of the session that nothing is left of.
    pub(crate) fn spent(&self, budgets: &Budgets) -> Option<Exceeded> {
        let spent = *self.spent.get()?;
        // Another policy may have come since.
        let limit = match spent.budget {
            Budget::RowsPerSession => budgets.rows_per_session,
            Budget::BytesPerSession => budgets.bytes_per_session,
            Budget::ChangesPerSession => budgets.changes_per_session,
            Budget::RowsPerStatement
            | Budget::BytesPerStatement
            | Budget::ChangesPerStatement
            | Budget::ChangesPerTransaction
            | Budget::StatementsPerMinute
            | Budget::TimePerStatement => None,
        };
        limit.filter(|limit| *limit <= spent.limit).map(|limit| Exceeded { limit, ..spent })
    }

    /// Counts so many statements, unless they are more than the budget leaves; those are not counted.
    pub(crate) fn pace(&self, statements: u64, limit: u64) -> bool {
        let now = self.began.elapsed().as_secs();
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.admit(statements, limit, now)
    }
}

impl Pace {
    fn admit(&mut self, statements: u64, limit: u64, now: u64) -> bool {
        let passed = now.saturating_sub(self.now);
        // The front is the second that has begun.
        let kept = SECONDS.saturating_sub(usize::try_from(passed).unwrap_or(SECONDS));
        self.counts.rotate_right(SECONDS - kept);
        self.counts.iter_mut().take(SECONDS - kept).for_each(|count| *count = 0);
        self.now = self.now.max(now);
        let before: u64 = self.counts.iter().sum();
        let fits = before.saturating_add(statements) <= limit;
        if let (true, [current, ..]) = (fits, &mut self.counts) {
            *current += statements;
        }
        fits
    }
}

// === impl Transaction ===

impl Transaction {
    /// It is over; the next one has changed nothing yet.
    pub(crate) fn over(&self) {
        self.changes.store(0, Ordering::Relaxed);
    }
}

// === impl Meter ===

impl Meter {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        transaction: Transaction,
        budgets: Budgets,
        mode: Mode,
        used: Arc<Used>,
    ) -> Self {
        let started = Instant::now();
        Self { ledger, transaction, budgets, mode, used, started, exceeded: None }
    }

    /// Takes as many of the items as fit. Each is so many rows and bytes.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an iterator of a few numbers; its copies are walked"
    )]
    pub fn admit(&mut self, items: impl Iterator<Item = (u64, u64)> + Clone) -> Admitted {
        loop {
            let left = self.left();
            let (mut count, mut rows, mut bytes, mut exceeded) = (0, 0_u64, 0_u64, None);
            for (more_rows, more_bytes) in items.clone() {
                let (all_rows, all_bytes) =
                    (rows.saturating_add(more_rows), bytes.saturating_add(more_bytes));
                if let Some((budget, limit)) = left.first_below(all_rows, all_bytes) {
                    let ended = self.mode.enforces();
                    exceeded = Some(Exceeded { budget, limit, ended });
                    if ended {
                        break;
                    }
                }
                (rows, bytes, count) = (all_rows, all_bytes, count + 1);
            }
            if !self.take(rows, bytes) {
                // Another connection was quicker.
                continue;
            }
            if let Some(exceeded) = exceeded {
                self.note(exceeded);
            }
            let exceeded = exceeded.filter(|exceeded| exceeded.ended);
            return Admitted { items: count, bytes, exceeded };
        }
    }

    /// Counts rows that the server has already changed: those that were there before, and those that it did not return as
    /// well. The budget that they are over, if they are.
    pub fn changed(&mut self, changes: u64, not_returned: u64) -> Option<Exceeded> {
        let admitted = self.admit(std::iter::once((not_returned, 0)));
        if admitted.exceeded.is_some() {
            // They were work of the server's, whatever becomes of them.
            add(&self.used.rows, not_returned);
            add(&self.ledger.rows, not_returned);
        }
        admitted.exceeded.or(self.change(changes))
    }

    fn change(&mut self, changes: u64) -> Option<Exceeded> {
        let Budgets { changes_per_statement, changes_per_transaction, changes_per_session, .. } =
            self.budgets;
        // Each is counted, also behind one that is used up: nothing can be taken back here.
        let over = [
            (Budget::ChangesPerStatement, changes_per_statement, &self.used.changes),
            (Budget::ChangesPerTransaction, changes_per_transaction, &self.transaction.changes),
            (Budget::ChangesPerSession, changes_per_session, &self.ledger.changes),
        ]
        .map(|(budget, limit, used)| {
            let all = add(used, changes);
            limit.filter(|limit| changes > 0 && all > *limit).map(|limit| (budget, limit))
        });
        let (budget, limit) = over.into_iter().flatten().next()?;
        let ended = self.mode.enforces();
        let exceeded = Exceeded { budget, limit, ended };
        self.note(exceeded);
        Some(exceeded).filter(|exceeded| exceeded.ended)
    }

    /// Rows that it has used, in all parts.
    pub fn rows(&self) -> u64 {
        self.used.rows.load(Ordering::Relaxed)
    }

    /// How long the statement may still run.
    pub fn time_left(&self) -> Option<Duration> {
        let limit = self.budgets.time_per_statement?;
        let before = Duration::from_micros(self.used.micros.load(Ordering::Relaxed));
        Some(limit.saturating_sub(before).saturating_sub(self.started.elapsed()))
    }

    /// The statement ran out of time. The budget, if the statement is to be ended for it.
    pub fn out_of_time(&mut self) -> Option<Exceeded> {
        let limit = self.budgets.time_per_statement?;
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let ended = self.mode.enforces();
        let exceeded = Exceeded { budget: Budget::TimePerStatement, limit, ended };
        self.note(exceeded);
        Some(exceeded).filter(|exceeded| exceeded.ended)
    }

    /// Whether its time is over and nobody said so.
    pub fn is_late(&self) -> bool {
        self.exceeded.is_none() && self.time_left().is_some_and(|left| left.is_zero())
    }

    /// The first budget that it was over.
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded
    }

    /// Begins to measure time anew: the statement is sent, or its turn has come.
    pub fn start(&mut self) {
        self.started = Instant::now();
    }

    fn note(&mut self, exceeded: Exceeded) {
        self.exceeded.get_or_insert(exceeded);
        if exceeded.budget.is_of_session() && exceeded.ended {
            let _ = self.ledger.spent.set(exceeded);
        }
    }

    fn left(&self) -> Left {
        let Budgets { rows_per_statement, bytes_per_statement, .. } = self.budgets;
        let Budgets { rows_per_session, bytes_per_session, .. } = self.budgets;
        let one = |budget, limit: Option<u64>, used: &AtomicU64| {
            let limit = limit.unwrap_or(u64::MAX);
            (budget, limit, limit.saturating_sub(used.load(Ordering::Relaxed)))
        };
        Left {
            budgets: [
                one(Budget::RowsPerStatement, rows_per_statement, &self.used.rows),
                one(Budget::BytesPerStatement, bytes_per_statement, &self.used.bytes),
                one(Budget::RowsPerSession, rows_per_session, &self.ledger.rows),
                one(Budget::BytesPerSession, bytes_per_session, &self.ledger.bytes),
            ],
        }
    }

    /// Takes so much of the session's budgets, or nothing if it is not there any more.
    fn take(&self, rows: u64, bytes: u64) -> bool {
        if self.mode.enforces() {
            let limit = self.budgets.rows_per_session.unwrap_or(u64::MAX);
            if !take(&self.ledger.rows, rows, limit) {
                return false;
            }
            let limit = self.budgets.bytes_per_session.unwrap_or(u64::MAX);
            if !take(&self.ledger.bytes, bytes, limit) {
                self.ledger.rows.fetch_sub(rows, Ordering::Relaxed);
                return false;
            }
        } else {
            add(&self.ledger.rows, rows);
            add(&self.ledger.bytes, bytes);
        }
        add(&self.used.rows, rows);
        add(&self.used.bytes, bytes);
        true
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        add(&self.used.micros, micros);
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("used", &self.used).finish_non_exhaustive()
    }
}

impl Left {
    /// The first budget that has less left than this.
    fn first_below(&self, rows: u64, bytes: u64) -> Option<(Budget, u64)> {
        let below = self.budgets.iter().find(|(budget, _, left)| {
            *left
                < match budget {
                    Budget::RowsPerStatement | Budget::RowsPerSession => rows,
                    Budget::BytesPerStatement | Budget::BytesPerSession => bytes,
                    Budget::ChangesPerStatement
                    | Budget::ChangesPerTransaction
                    | Budget::ChangesPerSession
                    | Budget::StatementsPerMinute
                    | Budget::TimePerStatement => 0,
                }
        });
        below.map(|(budget, limit, _)| (*budget, *limit))
    }
}

fn take(from: &AtomicU64, amount: u64, limit: u64) -> bool {
    let more = |used: u64| used.checked_add(amount).filter(|all| amount == 0 || *all <= limit);
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

/// Adds so much. How much there is then.
fn add(to: &AtomicU64, amount: u64) -> u64 {
    let more = |used: u64| Some(used.saturating_add(amount));
    let (Ok(before) | Err(before)) = to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    before.saturating_add(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: Budgets = Budgets {
        rows_per_statement: Some(3),
        bytes_per_statement: None,
        rows_per_session: Some(5),
        bytes_per_session: Some(100),
        changes_per_statement: None,
        changes_per_transaction: None,
        changes_per_session: None,
        statements_per_minute: None,
        time_per_statement: None,
    };

    fn of(ledger: &Arc<Ledger>, budgets: Budgets, mode: Mode) -> Meter {
        Meter::new(ledger.clone(), Transaction::default(), budgets, mode, Arc::default())
    }

    fn meter(ledger: &Arc<Ledger>, mode: Mode) -> Meter {
        of(ledger, ROWS, mode)
    }

    fn rows(count: usize, size: u64) -> impl Iterator<Item = (u64, u64)> + Clone {
        std::iter::repeat_n((1, size), count)
    }

    #[test]
    fn exactly_the_rows_of_a_budget_pass_and_the_next_one_ends_the_statement() {
        let ledger = Ledger::new();
        let mut first = meter(&ledger, Mode::Enforce);
        assert_eq!(first.admit(rows(3, 1)), Admitted { items: 3, bytes: 3, exceeded: None });
        let exceeded = Exceeded { budget: Budget::RowsPerStatement, limit: 3, ended: true };
        let none = Admitted { items: 0, bytes: 0, exceeded: Some(exceeded) };
        assert_eq!(first.admit(rows(1, 1)), none);
        assert_eq!(ledger.spent(&ROWS), None);

        let mut second = meter(&ledger, Mode::Enforce);
        let exceeded = Exceeded { budget: Budget::RowsPerSession, limit: 5, ended: true };
        let two = Admitted { items: 2, bytes: 2, exceeded: Some(exceeded) };
        assert_eq!(second.admit(rows(3, 1)), two);
        assert_eq!(ledger.spent(&ROWS), Some(exceeded));
    }

    #[test]
    fn a_value_larger_than_what_is_left_does_not_pass_at_all() {
        let ledger = Ledger::new();
        let mut meter = meter(&ledger, Mode::Enforce);
        let admitted = meter.admit([(1, 10), (1, 91)].into_iter());
        assert_eq!((admitted.items, admitted.bytes), (1, 10));
        assert_eq!(admitted.exceeded.map(|e| e.budget), Some(Budget::BytesPerSession));
    }

    #[test]
    fn what_is_observed_passes_whole_and_is_noted_once() {
        let ledger = Ledger::new();
        let mut meter = meter(&ledger, Mode::Observe);
        assert_eq!(meter.admit(rows(9, 1)), Admitted { items: 9, bytes: 9, exceeded: None });
        let exceeded = Exceeded { budget: Budget::RowsPerStatement, limit: 3, ended: false };
        assert_eq!(meter.exceeded(), Some(exceeded));
        assert_eq!(ledger.spent(&ROWS), None);
    }

    #[test]
    fn parts_of_one_portal_share_what_they_use() {
        let (ledger, used) = (Ledger::new(), Arc::default());
        let part = || {
            let transaction = Transaction::default();
            Meter::new(ledger.clone(), transaction, ROWS, Mode::Enforce, Arc::clone(&used))
        };
        assert_eq!(part().admit(rows(2, 1)).items, 2);
        let admitted = part().admit(rows(2, 1));
        assert_eq!(admitted.items, 1);
        assert_eq!(admitted.exceeded.map(|e| e.budget), Some(Budget::RowsPerStatement));
    }

    #[test]
    fn changed_rows_are_counted_though_they_are_rolled_back() {
        let ledger = Ledger::new();
        assert!(meter(&ledger, Mode::Enforce).changed(4, 4).is_some());
        let mut next = meter(&ledger, Mode::Enforce);
        let exceeded = next.changed(2, 2).map(|exceeded| exceeded.budget);
        assert_eq!(exceeded, Some(Budget::RowsPerSession));
    }

    #[test]
    fn changes_add_up_over_statements_of_a_transaction_and_over_transactions() {
        let budgets = Budgets {
            changes_per_statement: Some(3),
            changes_per_transaction: Some(5),
            changes_per_session: Some(8),
            ..Budgets::default()
        };
        let (ledger, transaction) = (Ledger::new(), Transaction::default());
        let change = |rows: u64| {
            let (ledger, transaction) = (ledger.clone(), transaction.clone());
            let mut meter = Meter::new(ledger, transaction, budgets, Mode::Enforce, Arc::default());
            meter.changed(rows, 0).map(|exceeded| exceeded.budget)
        };
        assert_eq!(change(4), Some(Budget::ChangesPerStatement));
        assert_eq!(change(1), None);
        assert_eq!(change(1), Some(Budget::ChangesPerTransaction));
        assert_eq!(change(0), None, "what changes nothing is not over");
        assert_eq!(ledger.spent(&budgets), None);
        transaction.over();
        assert_eq!(change(2), None);
        assert_eq!(change(1), Some(Budget::ChangesPerSession));
        assert_eq!(ledger.spent(&budgets).map(|e| e.budget), Some(Budget::ChangesPerSession));
    }

    #[test]
    fn rows_that_are_only_returned_are_no_changes() {
        let budgets = Budgets { changes_per_statement: Some(1), ..Budgets::default() };
        let mut meter = of(&Ledger::new(), budgets, Mode::Enforce);
        assert_eq!(meter.admit(rows(1_000, 1)).items, 1_000);
        assert_eq!(meter.changed(1, 0), None);
    }

    #[test]
    fn a_server_that_says_too_much_does_not_start_the_count_anew() {
        let ledger = Ledger::new();
        let mut meter = meter(&ledger, Mode::Enforce);
        assert!(meter.changed(u64::MAX, u64::MAX).is_some());
        assert!(meter.changed(1, 1).is_some());
        assert_eq!(meter.rows(), u64::MAX);
    }

    #[test]
    fn connections_that_race_take_no_more_than_there_is() {
        let ledger = Ledger::new();
        let budgets = Budgets { rows_per_session: Some(10_000), ..Budgets::default() };
        let passed: u64 = std::thread::scope(|scope| {
            let race = |_| {
                let mut meter = of(&ledger, budgets, Mode::Enforce);
                scope.spawn(move || {
                    let mut passed = 0;
                    loop {
                        let admitted = meter.admit(rows(7, 1));
                        passed += admitted.items;
                        if admitted.exceeded.is_some() {
                            return passed;
                        }
                    }
                })
            };
            let racing: Vec<_> = (0..4).map(race).collect();
            racing.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
        });
        assert_eq!(passed, 10_000);
    }

    #[test]
    fn no_minute_has_more_statements_than_the_budget() {
        let mut pace = Pace { counts: [0; SECONDS], now: 0 };
        assert!(pace.admit(2, 3, 0));
        assert!(pace.admit(1, 3, 59));
        assert!(!pace.admit(1, 3, 59));
        assert!(!pace.admit(1, 3, 60), "the first came within the last minute, perhaps");
        assert!(pace.admit(2, 3, 61));
        assert!(!pace.admit(1, 3, 62));
        assert!(pace.admit(3, 3, 10_000), "long ago is forgotten");
        assert!(!pace.admit(4, 3, 20_000), "a message of more than the budget never fits");
    }
}

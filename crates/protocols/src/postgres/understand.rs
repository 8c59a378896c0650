//! Texts to statements: understood once, kept while the catalog stays the same.
//!
//! A short text is read where it is. A long one goes to threads with large stacks, and is given up after a
//! while: the parser can be made to take long, and other clients go on meanwhile.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};

use guard_core::{Certainty, Operation, Protocol};
use guard_sql::{Names, Statement, StatementRole};
use tokio::{sync::oneshot, time::timeout};

use super::{
    catalog::{Catalogs, Snapshot},
    names::Known,
};
use crate::ProtocolError;

/// Understood texts that are kept. When full, all are forgotten: the cost is to read them again.
const MAX_TEXTS: usize = 4096;
/// Longest text that is kept, in bytes.
const MAX_KEPT_TEXT: usize = 16 << 10;
/// How long a text may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// Threads for long texts, for all sessions of the process.
const THREADS: usize = 2;
/// Their stacks: the parser recurses.
const STACK: usize = 128 << 20;
/// Texts that may wait for a thread.
const MAX_WAITING: usize = 64;

/// A text, understood.
pub(super) struct Understood {
    pub(super) text: Arc<str>,
    /// Whether only the statement inside of the text is meant.
    is_part: bool,
    pub(super) statements: Vec<Arc<Statement>>,
    /// With which catalog.
    version: u64,
    /// Whether it depends on names of the connection, and so on the moment.
    depends_on_names: bool,
}

/// Understands texts of one session's clients.
pub(super) struct Understanding {
    pub(super) catalogs: Catalogs,
    kept: Mutex<HashMap<Arc<str>, Arc<Understood>>>,
}

// === impl Understanding ===

impl Understanding {
    pub(super) fn new(catalogs: Catalogs) -> Self {
        Self { catalogs, kept: Mutex::default() }
    }

    /// The statements of a text, as it would be run now.
    pub(super) async fn read(
        &self,
        text: &str,
        names: &Known,
    ) -> Result<Arc<Understood>, ProtocolError> {
        let snapshot = self.catalogs.current().await?;
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(understood) = kept.get(text)
                && understood.version == snapshot.version
            {
                return Ok(understood.clone());
            }
        }
        let text: Arc<str> = text.into();
        let mut understood = analyze(&text, &snapshot, names).await;
        if understood.names_unknown_relation()
            && let Some(newer) = self.catalogs.newer(&snapshot).await?
        {
            understood = analyze(&text, &newer, names).await;
        }
        let understood = Arc::new(understood);
        if !understood.depends_on_names && text.len() <= MAX_KEPT_TEXT {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= MAX_TEXTS {
                kept.clear();
            }
            kept.insert(text, understood.clone());
        }
        Ok(understood)
    }

    /// The same text as it would be run now: plans are made again when a definition changes.
    pub(super) async fn again(
        &self,
        before: &Arc<Understood>,
        names: &Known,
    ) -> Result<Arc<Understood>, ProtocolError> {
        let snapshot = self.catalogs.current().await?;
        if before.version == snapshot.version && !before.depends_on_names {
            return Ok(before.clone());
        }
        let whole = self.read(&before.text, names).await?;
        Ok(if before.is_part { whole.its_part() } else { whole })
    }
}

// === impl Understood ===

impl Understood {
    /// One statement that was understood as a part of another one (`PREPARE`, `DECLARE`). Its text is the
    /// whole of that other one: it is understood again by it.
    pub(super) fn part(inner: &Arc<Statement>, whole: &Statement, of: &Self) -> Arc<Self> {
        Arc::new(Self {
            text: whole.operation.text.reveal().clone(),
            is_part: true,
            statements: vec![inner.clone()],
            version: of.version,
            depends_on_names: of.depends_on_names,
        })
    }

    /// The part that [`Understood::part`] was made of.
    fn its_part(&self) -> Arc<Self> {
        let inner = self.statements.first().and_then(|whole| match &whole.role {
            StatementRole::Prepare { inner, .. } | StatementRole::Declare { inner, .. } => {
                Some(Self::part(inner, whole, self))
            }
            StatementRole::Plain
            | StatementRole::Deallocate(_)
            | StatementRole::Close(_)
            | StatementRole::CopyOut(_)
            | StatementRole::CopyIn(_)
            | StatementRole::DiscardAll => None,
        });
        inner.unwrap_or_else(|| {
            Arc::new(Self::not(
                self.text.clone(),
                "?",
                "it is not what it was when it was prepared",
            ))
        })
    }

    /// A text that was not understood, for this reason.
    pub(super) fn not(text: Arc<str>, label: &str, why: &str) -> Self {
        let operation = Operation::unparsed(Protocol::Postgres, label, text.clone(), why);
        let statement = Statement { operation: Arc::new(operation), role: StatementRole::Plain };
        // Nothing is looked up for it, so that no catalog makes it better.
        let statements = vec![Arc::new(statement)];
        Self { text, is_part: false, statements, version: 0, depends_on_names: true }
    }

    fn names_unknown_relation(&self) -> bool {
        self.statements.iter().any(|statement| {
            let operation = &statement.operation;
            let partial = match operation.certainty {
                Certainty::Exact => false,
                Certainty::Partial(_) => true,
                Certainty::Unparsed(_) => return false,
            };
            partial
                || operation.effects.iter().any(|effect| {
                    use guard_core::ObjectKind::{
                        Channel, Column, Database, Extension, Function, Index, LargeObject, Other,
                        Role, Schema, Sequence, Setting, Table, Trigger, Type, View,
                    };
                    let relation = match effect.object.kind {
                        Table | View | Column => true,
                        Index | Sequence | Function | Schema | Database | Role | Setting
                        | Extension | Trigger | Type | LargeObject | Channel | Other => false,
                    };
                    let bare = effect.object.name.as_ref().is_some_and(|n| n.schema.is_none());
                    relation && bare
                })
        })
    }
}

/// Remembers whether it was asked.
struct Asked<'a> {
    known: &'a Known,
    snapshot: &'a Snapshot,
    asked: Cell<bool>,
}

/// Nothing has a name.
struct Unnamed;

impl Names for Unnamed {
    fn prepared(&self, _: &str) -> Vec<Arc<Statement>> {
        Vec::new()
    }

    fn cursor(&self, _: &str) -> Vec<Arc<Statement>> {
        Vec::new()
    }
}

impl Names for Asked<'_> {
    fn prepared(&self, name: &str) -> Vec<Arc<Statement>> {
        self.asked.set(true);
        // The server plans it again when a definition has changed, so it is understood again too.
        let now = |known: &Arc<Understood>| {
            if known.version == self.snapshot.version {
                return known.statements.clone();
            }
            let whole = analyze_here(&known.text, self.snapshot, &Unnamed);
            if known.is_part { whole.its_part().statements.clone() } else { whole.statements }
        };
        self.known.statements.all(name).flat_map(now).collect()
    }

    fn cursor(&self, name: &str) -> Vec<Arc<Statement>> {
        self.asked.set(true);
        // A cursor's plan stays what it was when it was declared.
        let sources = self.known.portals.all(name).filter_map(|portal| portal.source.as_ref());
        sources.flat_map(|known| known.statements.iter().cloned()).collect()
    }
}

async fn analyze(text: &Arc<str>, snapshot: &Arc<Snapshot>, names: &Known) -> Understood {
    if is_cheap(text) {
        return analyze_known(text, snapshot, names);
    }
    let (answer, understood) = oneshot::channel();
    let task =
        Task { text: text.clone(), snapshot: snapshot.clone(), names: names.clone(), answer };
    let sent = pool().try_send(task).is_ok();
    match timeout(DEADLINE, understood).await {
        Ok(Ok(understood)) => understood,
        Ok(Err(_)) if !sent => {
            Understood::not(text.clone(), "?", "too many long texts wait to be understood")
        }
        // The thread is gone: the parser did not survive this text.
        Ok(Err(_)) => Understood::not(text.clone(), "?", "reading it failed"),
        Err(_) => Understood::not(text.clone(), "?", "it takes too long to be understood"),
    }
}

fn analyze_known(text: &Arc<str>, snapshot: &Snapshot, known: &Known) -> Understood {
    let names = Asked { known, snapshot, asked: Cell::new(false) };
    let understood = analyze_here(text, snapshot, &names);
    Understood { depends_on_names: names.asked.get(), ..understood }
}

fn analyze_here(text: &Arc<str>, snapshot: &Snapshot, names: &dyn Names) -> Understood {
    Understood {
        text: text.clone(),
        is_part: false,
        statements: guard_sql::analyze(text, &snapshot.catalog, names),
        version: snapshot.version,
        depends_on_names: false,
    }
}

fn is_cheap(text: &str) -> bool {
    guard_sql::cheap(text)
}

struct Task {
    text: Arc<str>,
    snapshot: Arc<Snapshot>,
    names: Known,
    answer: oneshot::Sender<Understood>,
}

fn pool() -> &'static mpsc::SyncSender<Task> {
    static POOL: OnceLock<mpsc::SyncSender<Task>> = OnceLock::new();
    POOL.get_or_init(|| {
        let (tasks, waiting) = mpsc::sync_channel::<Task>(MAX_WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..THREADS {
            let waiting = waiting.clone();
            let work = move || {
                loop {
                    let task = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(task) = task else { return };
                    // Nobody waits any more: the deadline passed while it queued.
                    if task.answer.is_closed() {
                        continue;
                    }
                    let Task { text, snapshot, names, answer } = task;
                    let read = std::panic::AssertUnwindSafe(|| analyze_known(&text, &snapshot, &names));
                    if let Ok(understood) = std::panic::catch_unwind(read) {
                        let _ = answer.send(understood);
                    }
                }
            };
            let name = format!("guard-sql-{number}");
            if let Err(error) = thread::Builder::new().name(name).stack_size(STACK).spawn(work) {
                tracing::error!(%error, "no thread to understand long statements: they are refused");
            }
        }
        tasks
    })
}

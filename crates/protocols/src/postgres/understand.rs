//! Texts to statements: understood once, kept while the catalog stays the same.
//!
//! A short text is read where it is. A long one goes to threads with large stacks, and is given up after a
//! while: the parser can be made to take long, and other clients go on meanwhile.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use guard_sql::{Names, Statement, Template};
use tokio::{sync::oneshot, time::timeout};

use super::{
    catalog::{Catalogs, Snapshot},
    names::Known,
    understood::{Origin, Understood},
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
/// Prepared statements that stand for others that are followed; PostgreSQL has none of them.
const MAX_STAND_INS: usize = 4;

/// Understands texts of one session's clients.
pub(super) struct Understanding {
    pub(super) catalogs: Catalogs,
    kept: Mutex<HashMap<Arc<str>, Arc<Understood>>>,
    templates: Mutex<HashMap<String, General>>,
}

/// What is known of a text without its literals.
struct General {
    /// With which catalog.
    version: u64,
    /// What each of its texts is, but for the text; `None` if each must be looked at.
    understood: Option<Arc<Understood>>,
}

// === impl Understanding ===

impl Understanding {
    pub(super) fn new(catalogs: Catalogs) -> Self {
        Self { catalogs, kept: Mutex::default(), templates: Mutex::default() }
    }

    /// The statements of a text, as it would be run now.
    pub(super) async fn read(
        &self,
        text: &str,
        names: &Known,
    ) -> Result<Arc<Understood>, ProtocolError> {
        let arrived = Instant::now();
        let mut snapshot = match self.catalogs.current().await {
            Ok(snapshot) => snapshot,
            Err(error) => return Ok(Understood::without_catalog(text.into(), &error)),
        };
        let mut understood = self.read_with(text, &snapshot, names).await;
        if understood.missing {
            let newer = match self.catalogs.since(arrived).await {
                Ok(newer) => newer,
                Err(error) => return Ok(Understood::without_catalog(text.into(), &error)),
            };
            if newer.version != snapshot.version {
                snapshot = newer;
                understood = self.read_with(text, &snapshot, names).await;
            }
        }
        Ok(understood)
    }

    /// What is known of all texts that differ from this one in literals only, if that is all there is
    /// to know of it. No name of a connection's own is behind it.
    pub(super) fn general(&self, text: &str) -> Option<Arc<Understood>> {
        let template = guard_sql::template(text)?;
        let snapshot = self.catalogs.fresh()?;
        {
            let templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(general) = templates.get(&template.text)
                && general.version == snapshot.version
            {
                return general.understood.clone();
            }
        }
        let understood = analyze_general(&template, &snapshot).map(Arc::new);
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        if templates.len() >= MAX_TEXTS {
            templates.clear();
        }
        let general = General { version: snapshot.version, understood: understood.clone() };
        templates.insert(template.text, general);
        understood
    }

    async fn read_with(
        &self,
        text: &str,
        snapshot: &Arc<Snapshot>,
        names: &Known,
    ) -> Arc<Understood> {
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(understood) = kept.get(text)
                && understood.version == snapshot.version
            {
                return understood.clone();
            }
        }
        let text: Arc<str> = text.into();
        let understood = Arc::new(analyze(&text, snapshot, names).await);
        if !understood.depends_on_names && text.len() <= MAX_KEPT_TEXT {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= MAX_TEXTS {
                kept.clear();
            }
            kept.insert(text, understood.clone());
        }
        understood
    }

    /// The same text as it would be run now: plans are made again when a definition changes.
    pub(super) async fn again(
        &self,
        before: &Arc<Understood>,
        names: &Known,
    ) -> Result<Arc<Understood>, ProtocolError> {
        if before.origin == Origin::Declared {
            return Ok(before.clone());
        }
        let snapshot = match self.catalogs.current().await {
            Ok(snapshot) => snapshot,
            Err(error) => return Ok(Understood::without_catalog(before.text.clone(), &error)),
        };
        let is_same = before.version == snapshot.version;
        if is_same && !before.depends_on_names && !before.missing {
            return Ok(before.clone());
        }
        let whole = self.read(&before.text, names).await?;
        Ok(match before.origin {
            Origin::Prepared(place) => Arc::new(whole.prepared(place)),
            Origin::Text | Origin::Declared => whole,
        })
    }
}

/// The names of a connection, read with one catalog. Remembers whether it was asked.
struct Asked<'a> {
    known: &'a Known,
    snapshot: &'a Snapshot,
    depth: usize,
    asked: Cell<bool>,
    missing: Cell<bool>,
    /// Texts of what was found.
    behind: RefCell<Vec<Arc<str>>>,
}

impl<'a> Asked<'a> {
    const fn new(known: &'a Known, snapshot: &'a Snapshot, depth: usize) -> Self {
        Self {
            known,
            snapshot,
            depth,
            asked: Cell::new(false),
            missing: Cell::new(false),
            behind: RefCell::new(Vec::new()),
        }
    }

    /// Keeps the text of what a name stands for, and what that stands for.
    fn note_behind(&self, found: &Understood) {
        let mut behind = self.behind.borrow_mut();
        for text in std::iter::once(&found.text).chain(&found.behind) {
            if !behind.contains(text) {
                behind.push(text.clone());
            }
        }
    }

    /// What was prepared, as it would be planned now.
    fn now(&self, before: &Arc<Understood>) -> Arc<Understood> {
        if before.origin == Origin::Declared || before.version == self.snapshot.version {
            return before.clone();
        }
        let not = |why| Arc::new(Understood::not(before.text.clone(), "?", why));
        if self.depth >= MAX_STAND_INS {
            return not("it stands for a statement that stands for others");
        }
        // An analysis that is not cheap has a thread of its own; this one may not be on it.
        if !is_cheap(&before.text) {
            return not("it was prepared before a definition changed; prepare it again");
        }
        let whole = analyze_here(&before.text, self.snapshot, self.known, self.depth + 1);
        Arc::new(match before.origin {
            Origin::Prepared(place) => whole.prepared(place),
            Origin::Text | Origin::Declared => whole,
        })
    }
}

impl Names for Asked<'_> {
    fn prepared(&self, name: &str) -> Vec<Arc<Statement>> {
        self.asked.set(true);
        let mut all = Vec::new();
        for before in self.known.prepared(name) {
            let now = self.now(before);
            self.missing.set(self.missing.get() || now.missing);
            self.note_behind(&now);
            all.extend(now.statements.iter().cloned());
        }
        all
    }

    fn cursor(&self, name: &str) -> Vec<Arc<Statement>> {
        self.asked.set(true);
        let sources: Vec<_> = self.known.cursor(name).collect();
        for source in &sources {
            self.note_behind(source);
        }
        sources.into_iter().flat_map(|source| source.statements.iter().cloned()).collect()
    }
}

async fn analyze(text: &Arc<str>, snapshot: &Arc<Snapshot>, names: &Known) -> Understood {
    if is_cheap(text) {
        return analyze_here(text, snapshot, names, 0);
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

/// A template is short, so that it is looked at here; one that is not cheap is none.
fn analyze_general(template: &Template, snapshot: &Snapshot) -> Option<Understood> {
    if !is_cheap(&template.text) {
        return None;
    }
    let text: Arc<str> = template.text.as_str().into();
    let understood = analyze_here(&text, snapshot, &Known::default(), 0);
    // What is missing is looked for when the text itself is read.
    let is_all = !understood.missing && !understood.depends_on_names;
    (is_all && Template::holds(&understood.statements)).then_some(understood)
}

fn analyze_here(text: &Arc<str>, snapshot: &Snapshot, names: &Known, depth: usize) -> Understood {
    let names = Asked::new(names, snapshot, depth);
    let analysis = guard_sql::examine(text, &snapshot.catalog, &names);
    Understood {
        text: text.clone(),
        statements: analysis.statements,
        types: None,
        origin: Origin::Text,
        version: snapshot.version,
        depends_on_names: names.asked.get(),
        missing: analysis.missing || names.missing.get(),
        behind: names.behind.take(),
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
                    let read = std::panic::AssertUnwindSafe(|| analyze_here(&text, &snapshot, &names, 0));
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

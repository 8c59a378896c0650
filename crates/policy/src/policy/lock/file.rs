//! A lock's YAML to a [`LockFile`], with every problem at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use guard_core::{
    Digest, ResourceName, RowRange,
    document::{self, Node, Problems},
    lock::{LockedRequest, RequestSeen, table_words},
};

/// By how much rows may differ unless a lock says it.
const TOLERANCE: u64 = 2;
/// More is no bound.
const MAX_TOLERANCE: u64 = 1000;
/// Longest words of an effect and longest place, in bytes: a name has at most 63, of which each can be escaped.
const MAX_WORDS: usize = 1200;

/// The fingerprints that a statement of a text can have, its own and that of what it prepares; `None` if it is none that a lock can
/// hold. Whoever has the SQL scanner gives this: a reviewer reads the text, and the fingerprint is compared.
pub type Fingerprints = fn(&str) -> Option<[Digest; 2]>;

/// A lock: what was learned of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFile {
    /// By how many times rows may be more or fewer than learned.
    pub rows_tolerance: u64,
    /// What was done to each resource.
    pub resources: BTreeMap<ResourceName, LockedResource>,
    /// Where commands went besides, `host:port`.
    pub egress: BTreeSet<String>,
}

impl Default for LockFile {
    fn default() -> Self {
        Self { rows_tolerance: TOLERANCE, resources: BTreeMap::new(), egress: BTreeSet::new() }
    }
}

/// The statements of one resource, or the requests to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockedResource {
    /// In the order of the file.
    statements: Vec<LockedStatement>,
    places: HashMap<Digest, Vec<usize>>,
    /// By their lines.
    requests: BTreeMap<String, LockedRequest>,
}

/// A statement that is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedStatement {
    /// Its text, without literals.
    pub text: String,
    /// Equal for statements that differ in literals only.
    pub fingerprint: Digest,
    /// What it does, in words.
    pub effects: BTreeSet<String>,
    /// Digest over where values come from and go.
    pub details: Digest,
    /// How many rows it returned or changed each time, if that is known.
    pub rows: Option<RowRange>,
}

impl LockedStatement {
    /// By what it is the same as another one.
    pub fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.details == other.details
            && self.effects == other.effects
    }
}

impl LockedResource {
    /// The statements.
    pub fn statements(&self) -> &[LockedStatement] {
        &self.statements
    }

    /// The requests, in the order of their lines.
    pub fn requests(&self) -> impl Iterator<Item = &LockedRequest> {
        self.requests.values()
    }

    /// Whether a request is one of these.
    pub fn lists(&self, seen: &RequestSeen) -> bool {
        self.requests().any(|listed| listed.lists(seen))
    }

    /// Adds requests. `false` if the same line was there.
    pub fn add_request(&mut self, request: LockedRequest) -> bool {
        self.requests.insert(request.to_string(), request).is_none()
    }

    /// Whether nothing was done to it.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.requests.is_empty()
    }

    /// Those of a fingerprint.
    pub fn of(&self, fingerprint: Digest) -> impl Iterator<Item = &LockedStatement> {
        let places = self.places.get(&fingerprint).into_iter().flatten();
        places.filter_map(|place| self.statements.get(*place))
    }

    /// The tables and views that the statements touch.
    pub fn tables(&self) -> BTreeSet<String> {
        self.statements.iter().flat_map(|statement| table_words(&statement.effects)).collect()
    }

    /// Adds a statement; one that is the same gets both ranges. `false` if it was there.
    pub fn add(&mut self, statement: LockedStatement) -> bool {
        let places = self.places.entry(statement.fingerprint).or_default();
        for place in places.iter() {
            let Some(known) = self.statements.get_mut(*place) else { continue };
            if known.is_same(&statement) {
                known.rows = match (known.rows, statement.rows) {
                    (Some(known), Some(rows)) => Some(known.with(rows)),
                    (known, rows) => known.or(rows),
                };
                // One of the texts, whichever came first.
                if statement.text < known.text {
                    known.text = statement.text;
                }
                return false;
            }
        }
        places.push(self.statements.len());
        self.statements.push(statement);
        true
    }
}

impl LockFile {
    /// The form of locks that are read and written.
    pub const FORMAT: &str = "guard-lock/1";
    /// Ends the name of a lock that stands beside a policy.
    pub(super) const ENDING: &str = ".lock.yaml";

    /// Whether a file has the name of a lock.
    pub fn is_named(path: impl AsRef<Path>) -> bool {
        path.as_ref().to_string_lossy().ends_with(Self::ENDING)
    }

    /// Reads a lock. `file` names it in problems. With `check`, each text must have its fingerprint.
    pub fn parse(file: &str, text: &str, check: Option<Fingerprints>) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let lock = Self::read(file, text, check, &mut problems);
        problems.into_result(lock)
    }

    pub(super) fn read(
        file: &str,
        text: &str,
        check: Option<Fingerprints>,
        problems: &mut Problems,
    ) -> Option<Self> {
        document::parse(file, text, problems).and_then(|node| lock(&node, check, problems))
    }

    /// How many statements it lists.
    pub fn statements(&self) -> usize {
        self.resources.values().map(|resource| resource.statements.len()).sum()
    }

    /// How many lines of requests it lists.
    pub fn requests(&self) -> usize {
        self.resources.values().map(|resource| resource.requests.len()).sum()
    }

    /// Adds what another one has.
    pub fn unite(&mut self, other: Self) {
        for (name, resource) in other.resources {
            let known = self.resources.entry(name).or_default();
            for statement in resource.statements {
                known.add(statement);
            }
            known.requests.extend(resource.requests);
        }
        self.egress.extend(other.egress);
    }
}

fn lock(node: &Node, check: Option<Fingerprints>, problems: &mut Problems) -> Option<LockFile> {
    let fields = node.fields(problems)?;
    let form = fields
        .required("lock", problems)
        .and_then(|node| node.one_of(&[(LockFile::FORMAT, ())], problems));
    let tolerance = match fields.optional("rows_tolerance") {
        Some(node) => tolerance(node, problems),
        None => Some(TOLERANCE),
    };
    let resources = match fields.optional("resources") {
        Some(node) => resources(node, check, problems),
        None => Some(BTreeMap::new()),
    };
    let egress = match fields.optional("egress") {
        Some(node) => words(node, problems),
        None => Some(BTreeSet::new()),
    };
    fields.finish(&["lock", "rows_tolerance", "resources", "egress"], problems);
    form?;
    Some(LockFile { rows_tolerance: tolerance?, resources: resources?, egress: egress? })
}

fn tolerance(node: &Node, problems: &mut Problems) -> Option<u64> {
    let number = node.number(problems)?;
    if !(1..=MAX_TOLERANCE).contains(&number) {
        node.problem(problems, format!("expected 1 to {MAX_TOLERANCE} times, found {number}"));
        return None;
    }
    Some(number)
}

fn resources(
    node: &Node,
    check: Option<Fingerprints>,
    problems: &mut Problems,
) -> Option<BTreeMap<ResourceName, LockedResource>> {
    let mut found = BTreeMap::new();
    let fields = node.fields(problems)?.all();
    for (_, key, value) in &fields {
        let name: Option<ResourceName> = key.parsed(problems);
        let read = resource(value, check, problems);
        if let (Some(name), Some(read)) = (name, read) {
            found.insert(name, read);
        }
    }
    (found.len() == fields.len()).then_some(found)
}

fn resource(
    node: &Node,
    check: Option<Fingerprints>,
    problems: &mut Problems,
) -> Option<LockedResource> {
    let fields = node.fields(problems)?;
    let tables = match fields.optional("tables") {
        Some(node) => words(node, problems).map(|tables| (Some(node), tables)),
        None => Some((None, BTreeSet::new())),
    };
    let (statements, requests) = (fields.optional("statements"), fields.optional("requests"));
    fields.finish(&["tables", "statements", "requests"], problems);
    if statements.is_none() && requests.is_none() {
        node.problem(problems, "expected `statements`, or `requests` to an HTTP API");
        return None;
    }
    let mut found = LockedResource::default();
    let mut right = true;
    if let Some(node) = statements {
        for node in node.list(problems)? {
            let Some(statement) = statement(node, check, problems) else {
                right = false;
                continue;
            };
            if !found.add(statement) {
                node.problem(
                    problems,
                    "the same statement with the same effects stands above, too",
                );
                right = false;
            }
        }
    }
    if let Some(node) = requests {
        for node in node.list(problems)? {
            let Some(request) = node.parsed(problems) else {
                right = false;
                continue;
            };
            if !found.add_request(request) {
                node.problem(problems, "the same request stands above, too");
                right = false;
            }
        }
    }
    let (at, tables) = tables?;
    if right && tables != found.tables() {
        at.unwrap_or(node).problem_with_help(
            problems,
            "`tables` are not those of the statements' effects",
            "list each table and view of the effects once, or make the lock again",
        );
        right = false;
    }
    right.then_some(found)
}

fn statement(
    node: &Node,
    check: Option<Fingerprints>,
    problems: &mut Problems,
) -> Option<LockedStatement> {
    let fields = node.fields(problems)?;
    let text_node = fields.required("text", problems);
    let text = text_node.and_then(|node| node.text(problems));
    let digest_node = fields.required("fingerprint", problems);
    let fingerprint: Option<Digest> = digest_node.and_then(|node| node.parsed(problems));
    let effects = match fields.optional("effects") {
        Some(node) => words(node, problems),
        None => Some(BTreeSet::new()),
    };
    let details = fields.required("details", problems).and_then(|node| node.parsed(problems));
    let rows = match fields.optional("rows") {
        Some(node) => rows(node, problems).map(Some),
        None => Some(None),
    };
    fields.finish(&["text", "fingerprint", "effects", "details", "rows"], problems);
    let (text, fingerprint) = (text?, fingerprint?);
    if let Some(check) = check
        && !check(text).is_some_and(|known| known.contains(&fingerprint))
    {
        digest_node.unwrap_or(node).problem_with_help(
            problems,
            "the fingerprint is not the text's: who reads the text would not read what is compared",
            "make the lock again with `guard lock learn`; do not change texts by hand",
        );
        return None;
    }
    Some(LockedStatement {
        text: text.to_owned(),
        fingerprint,
        effects: effects?,
        details: details?,
        rows: rows?,
    })
}

fn rows(node: &Node, problems: &mut Problems) -> Option<RowRange> {
    let fields = node.fields(problems)?;
    let least = fields.required("least", problems).and_then(|node| node.number(problems));
    let most = fields.required("most", problems).and_then(|node| node.number(problems));
    fields.finish(&["least", "most"], problems);
    let range = RowRange { least: least?, most: most? };
    if range.least > range.most {
        node.problem(problems, "`least` is more than `most`");
        return None;
    }
    Some(range)
}

/// A list of texts, each once.
fn words(node: &Node, problems: &mut Problems) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut right = true;
    for item in node.list(problems)? {
        let Some(text) = item.text(problems) else {
            right = false;
            continue;
        };
        if text.len() > MAX_WORDS || text.chars().any(char::is_control) {
            item.problem(problems, "expected one line");
            right = false;
        }
        if !found.insert(text.to_owned()) {
            item.problem(problems, format!("`{text}` stands above, too"));
            right = false;
        }
    }
    right.then_some(found)
}

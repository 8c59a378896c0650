//! The `lock` of a policy: a file beside it that lists the statements and requests of a run that was looked at, and what becomes of others.

mod file;

use guard_core::{
    ApprovalTerms, Certainty, DecisionKind, Digest, Locked, Operation, PolicyName, Protocol,
    ResourceName, RuleId,
    document::{Fields, Node, Problems},
    lock::{RequestSeen, acts_by_literals, effect_words, is_housekeeping},
};

pub use self::file::{Fingerprints, LockFile, LockedResource, LockedStatement};
use super::approval;

/// A lock as it stands beside its policy.
#[derive(Debug, Clone)]
pub struct LockText {
    /// Names it in problems.
    pub file: String,
    /// What it holds.
    pub text: String,
}

/// A lock, and what becomes of what is not in it.
#[derive(Debug, Clone)]
pub(super) struct Lock {
    pub(super) unlisted: Unlisted,
    pub(super) name: String,
    pub(super) text: String,
    pub(super) file: LockFile,
}

/// What becomes of an operation that the rules let through and the lock does not list.
#[derive(Debug, Clone)]
pub(super) enum Unlisted {
    Report,
    Approve(ApprovalTerms),
    Block,
}

/// What a lock finds of an operation.
#[derive(Clone, Copy)]
pub(super) enum Finding {
    /// It is not about it.
    Free,
    Is(Locked, &'static str),
}

/// What reads the lock of a policy.
pub(super) struct Reader<'a> {
    /// Gives a lock by its name.
    pub(super) source: &'a dyn Fn(&str) -> Result<LockText, String>,
    /// With it, each text must have its fingerprint.
    pub(super) check: Option<Fingerprints>,
}

/// Reads `lock` of a policy of this name, and the file that it names: `lock: block`, or with its terms.
pub(super) fn read(
    node: &Node,
    policy: Option<&PolicyName>,
    reader: &Reader<'_>,
    problems: &mut Problems,
) -> Option<Lock> {
    // Named like its policy where nothing else is said.
    let usual = policy.map(|policy| format!("{policy}{}", LockFile::ENDING));
    let (name, at, unlisted) = if node.is_scalar() {
        (usual, node, short(node, problems))
    } else {
        let fields = node.fields(problems)?;
        let (name, at) = match fields.optional("file") {
            Some(node) => (file_name(node, problems), node),
            None => (usual, node),
        };
        let unlisted = unlisted(&fields, problems);
        let [approvers, within, wait, reason_required] = approval::KEYS;
        fields.finish(&["file", "unlisted", approvers, within, wait, reason_required], problems);
        (name, at, unlisted)
    };
    let name = name?;
    let text = match (reader.source)(&name) {
        Ok(text) => text,
        Err(why) => {
            at.problem_with_help(
                problems,
                format!("the lock `{name}` cannot be had: {why}"),
                "make it with `guard lock learn RECORD --out FILE`, in the policy's own folder",
            );
            return None;
        }
    };
    let file = LockFile::read(&text.file, &text.text, reader.check, problems)?;
    Some(Lock { unlisted: unlisted?, name, text: text.text, file })
}

/// A lock stands beside its policy: the name leads to no other folder.
fn file_name(node: &Node, problems: &mut Problems) -> Option<String> {
    let name = node.text(problems)?;
    if name.contains(['/', '\\']) || !LockFile::is_named(name) || name == LockFile::ENDING {
        node.problem_with_help(
            problems,
            format!("`{name}` is no name of a lock"),
            "a lock stands in the policy's own folder and is named like `nightly-backup.lock.yaml`",
        );
        return None;
    }
    Some(name.to_owned())
}

const WORDS: [(&str, DecisionKind); 3] = [
    // It lets go on what the rules let through: to the keys of approvals it is like `allow`.
    ("report", DecisionKind::Allow),
    ("approve", DecisionKind::Approve),
    ("block", DecisionKind::Block),
];

fn short(node: &Node, problems: &mut Problems) -> Option<Unlisted> {
    match node.one_of(&WORDS, problems)? {
        DecisionKind::Allow => Some(Unlisted::Report),
        DecisionKind::Block => Some(Unlisted::Block),
        DecisionKind::Approve => {
            node.problem_with_help(
                problems,
                "`lock: approve` does not say who is asked",
                "write `lock: { unlisted: approve, approvers: [dba], within: 15m }`",
            );
            None
        }
    }
}

fn unlisted(fields: &Fields<'_>, problems: &mut Problems) -> Option<Unlisted> {
    let decide =
        fields.required("unlisted", problems).and_then(|node| node.one_of(&WORDS, problems));
    let terms = approval::read(fields, decide, Some(&RuleId::lock()), problems)?;
    match (decide?, terms) {
        (DecisionKind::Allow, _) => Some(Unlisted::Report),
        (DecisionKind::Approve, terms) => terms.map(Unlisted::Approve),
        (DecisionKind::Block, _) => Some(Unlisted::Block),
    }
}

impl Lock {
    /// What it finds of an operation.
    pub(super) fn find(&self, resource: &ResourceName, op: &Operation) -> Finding {
        match op.certainty {
            Certainty::Exact => {}
            Certainty::Partial(_) | Certainty::Unparsed(_) => {
                return Finding::Is(
                    Locked::Unlisted,
                    "what is not understood in full is in no lock",
                );
            }
        }
        if op.is_housekeeping() {
            return Finding::Free;
        }
        self.compare(resource, op, Some(op.details()))
    }

    /// The same of an operation that a record tells: `details` is what it says of them.
    pub(super) fn find_told(
        &self,
        resource: &ResourceName,
        op: &Operation,
        details: Option<Digest>,
    ) -> Finding {
        match (&op.certainty, details) {
            (Certainty::Exact, None) if is_housekeeping(&op.label, &op.effects) => Finding::Free,
            (Certainty::Exact, details) => self.compare(resource, op, details),
            (Certainty::Partial(_) | Certainty::Unparsed(_), _) => self.find(resource, op),
        }
    }

    fn compare(&self, resource: &ResourceName, op: &Operation, details: Option<Digest>) -> Finding {
        match op.protocol {
            Protocol::Postgres => self.compare_statement(resource, op, details),
            Protocol::Http => self.compare_request(resource, op),
        }
    }

    fn compare_request(&self, resource: &ResourceName, op: &Operation) -> Finding {
        let asked = op.request.as_ref().and_then(|request| request.graphql.as_ref());
        let seen = RequestSeen::of(op.text.reveal(), &op.effects)
            .filter(|_| asked.is_none_or(|asked| asked.surely.is_some()));
        let Some(seen) = seen else {
            return Finding::Is(
                Locked::Unlisted,
                "what it asks is not all known, so no lock lists it",
            );
        };
        let listed = self.file.resources.get(resource);
        if listed.is_some_and(|listed| listed.lists(&seen)) {
            Finding::Is(Locked::Listed(None), "the lock lists it")
        } else {
            Finding::Is(Locked::Unlisted, "the request is not in the lock")
        }
    }

    fn compare_statement(
        &self,
        resource: &ResourceName,
        op: &Operation,
        details: Option<Digest>,
    ) -> Finding {
        if acts_by_literals(&op.label, &op.effects) {
            let why = "what it does is in its literals or parameters, which no lock holds";
            return Finding::Is(Locked::Unlisted, why);
        }
        let listed = self.file.resources.get(resource);
        let mut same = listed.into_iter().flat_map(|listed| listed.of(op.fingerprint)).peekable();
        if same.peek().is_none() {
            return Finding::Is(Locked::Unlisted, "the statement is not in the lock");
        }
        let effects = effect_words(&op.effects);
        let found = same.find(|statement| {
            statement.effects == effects
                && details.is_none_or(|details| statement.details == details)
        });
        match found {
            Some(statement) => {
                let rows = statement.rows.map(|rows| rows.widened(self.file.rows_tolerance));
                Finding::Is(Locked::Listed(rows), "the lock lists it")
            }
            None => Finding::Is(
                Locked::Unlisted,
                "the lock has a statement like it with other effects or on other columns",
            ),
        }
    }

    /// Whether it lets a command go to a place that the policy lists.
    pub(super) fn lets_out(&self, host: &str, port: u16) -> bool {
        match self.unlisted {
            Unlisted::Report => true,
            Unlisted::Approve(_) | Unlisted::Block => {
                self.file.egress.contains(&format!("{host}:{port}"))
            }
        }
    }
}

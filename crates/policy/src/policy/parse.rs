//! A policy's YAML to a [`Policy`], with every problem at once.

use std::{
    collections::{BTreeSet, HashSet},
    str::FromStr,
};

use guard_core::{
    Budgets, DecisionKind, DerivedFlow, Detector, Detectors, Mask, Masking, Mode, ObjectKind,
    PolicyName, Predicates, RuleId, Stability, Verb,
    control::PolicySource,
    document::{self, Fields, Node, Problems},
};

use super::{
    Fingerprints, LockText, Policy, approval, budgets, egress,
    fields::{self, FieldEntry},
    http,
    lists::{patterns, words},
    lock,
    masks::{MaskEntry, Masks},
    record::{self, Records},
    rule::{Filter, FunctionPattern, Level, Names, Rule},
};

/// Longest text of a `say`, in characters: it ends up in an error message of a protocol.
const MAX_SAY: usize = 500;

const DECISIONS: [(&str, DecisionKind); 3] = [
    ("allow", DecisionKind::Allow),
    ("approve", DecisionKind::Approve),
    ("block", DecisionKind::Block),
];
const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];
const MASKS: [(&str, Mask); 5] = [
    ("redact", Mask::Redact),
    ("null", Mask::Null),
    ("hash", Mask::Hash),
    ("partial", Mask::Partial),
    ("format", Mask::Format),
];
const STABLE: [(&str, Stability); 2] = [("run", Stability::Run), ("always", Stability::Always)];
const DERIVED: [(&str, DerivedFlow); 2] =
    [("block", DerivedFlow::Block), ("redact", DerivedFlow::Redact)];
const PREDICATES: [(&str, Predicates); 3] = [
    ("allow", Predicates::Allow),
    ("equality", Predicates::Equality),
    ("block", Predicates::Block),
];

impl Policy {
    /// Reads a policy that names no lock. `file` names it in problems.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        Self::parse_with_lock(file, text, &|_| Err("no lock is read here".into()), None)
    }

    /// Reads a policy and the lock that it names, which `source` gives by its name. With `check`, each text of the lock
    /// must have its fingerprint.
    pub fn parse_with_lock(
        file: &str,
        text: &str,
        source: &dyn Fn(&str) -> Result<LockText, String>,
        check: Option<Fingerprints>,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let locks = lock::Reader { source, check };
        let policy = document::parse(file, text, &mut problems)
            .and_then(|node| policy(&node, text, &locks, &mut problems));
        problems.into_result(policy)
    }

    /// Reads a policy as it travels. Whoever sent it read its lock with all checks.
    pub fn from_source(source: &PolicySource) -> Result<Self, Problems> {
        let lock = |name: &str| match &source.lock {
            Some(text) => Ok(LockText { file: name.to_owned(), text: text.clone() }),
            None => Err("it did not come with the policy".to_owned()),
        };
        Self::parse_with_lock(source.name.as_str(), &source.yaml, &lock, None)
    }
}

fn policy(
    node: &Node,
    text: &str,
    locks: &lock::Reader<'_>,
    problems: &mut Problems,
) -> Option<Policy> {
    let fields = node.fields(problems)?;
    let name: Option<PolicyName> =
        fields.required("policy", problems).and_then(|node| node.parsed(problems));
    let rules = fields.required("rules", problems).and_then(|node| rules(node, problems));
    let masks = match fields.optional("masks") {
        Some(node) => masks(node, problems),
        None => Some(Entries::default()),
    };
    let detect = match fields.optional("detect") {
        Some(node) => detect(node, problems),
        None => Some(Detectors::default()),
    };
    let mode = match fields.optional("mode") {
        Some(node) => node.one_of(&MODES, problems),
        None => Some(Mode::default()),
    };
    let budgets = match fields.optional("budgets") {
        Some(node) => budgets::read(node, problems),
        None => Some(Budgets::default()),
    };
    let egress = match fields.optional("egress") {
        Some(node) => egress::read(node, problems),
        None => Some(Vec::new()),
    };
    let record_said = fields.optional("record");
    let record = match record_said {
        Some(node) => record::of_policy(node, problems),
        None => Some(Records::default()),
    };
    let client_credentials = http::client_credentials(&fields, problems);
    let lock = match fields.optional("lock") {
        Some(node) => lock::read(node, name.as_ref(), locks, problems).map(Some),
        None => Some(None),
    };
    if let (Some(rules), Some(budgets)) = (&rules, &budgets) {
        http::check(&fields, rules, budgets, problems)?;
    }
    fields.finish(
        &[
            "policy",
            "mode",
            "budgets",
            "record",
            "rules",
            "masks",
            "detect",
            "egress",
            "lock",
            "client_credentials",
        ],
        problems,
    );
    let lock = lock?;
    let digest = PolicySource::digest_of(text, lock.as_ref().map(|lock| lock.text.as_str()));
    let (columns, fields) = masks?;
    let masks = Masks::new(columns, fields, detect?);
    let (rules, record) = (rules?, record?);
    record.check(record_said, &rules, problems)?;
    Some(Policy {
        name: name?,
        digest,
        mode: mode?,
        budgets: budgets?,
        rules,
        masks,
        egress: egress?,
        record,
        lock,
        client_credentials: client_credentials?,
    })
}

fn rules(node: &Node, problems: &mut Problems) -> Option<Vec<Rule>> {
    let nodes = node.list(problems)?;
    let mut seen = HashSet::new();
    let mut rules = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(rule) = rule(node, problems) else { continue };
        if !seen.insert(rule.id.clone()) {
            node.problem(problems, format!("a rule `{}` stands above, too", rule.id));
        }
        rules.push(rule);
    }
    (rules.len() == nodes.len()).then_some(rules)
}

fn rule(node: &Node, problems: &mut Problems) -> Option<Rule> {
    let fields = node.fields(problems)?;
    let id = fields.required("name", problems).and_then(|node| rule_name(node, problems));
    let decide =
        fields.required("decide", problems).and_then(|node| node.one_of(&DECISIONS, problems));
    let about = about(&fields, problems);
    let say = match fields.optional("say") {
        Some(node) => say(node, problems).map(Some),
        None => Some(None),
    };
    let approval = approval::read(&fields, decide, id.as_ref(), problems);
    let record = match fields.optional("record") {
        Some(node) => record::of_rule(node, decide, problems).map(Some),
        None => Some(None),
    };
    let [approvers, within, wait, reason_required] = approval::KEYS;
    fields.finish(
        &[
            "name",
            "sql",
            "http",
            "decide",
            "say",
            "record",
            approvers,
            within,
            wait,
            reason_required,
        ],
        problems,
    );
    // The rest of a rule is read even if its decision is wrong, so that all problems show at once.
    let read_as = decide.unwrap_or(DecisionKind::Block);
    let filter = match about {
        Some(About::Sql(node)) => filter(node, read_as, problems),
        Some(About::Http(node)) => http::filter(node, read_as, problems),
        None => None,
    };
    let (id, filter, record) = (id?, filter?, record?.filter(|record| record.keeps_rows()));
    Some(Rule { id, filter, decide: decide?, say: say?, approval: approval?, record })
}

/// What a rule or a mask is about.
enum About<'a> {
    Sql(&'a Node),
    Http(&'a Node),
}

fn about<'a>(fields: &Fields<'a>, problems: &mut Problems) -> Option<About<'a>> {
    match (fields.optional("sql"), fields.optional("http")) {
        (_, None) => fields.required("sql", problems).map(About::Sql),
        (None, Some(node)) => Some(About::Http(node)),
        (Some(_), Some(node)) => {
            node.problem_with_help(
                problems,
                "both `sql` and `http` stand here",
                "write one entry for each",
            );
            None
        }
    }
}

fn rule_name(node: &Node, problems: &mut Problems) -> Option<RuleId> {
    let id: RuleId = node.parsed(problems)?;
    let own = [
        RuleId::default_deny(),
        RuleId::masks(),
        RuleId::budgets(),
        RuleId::built_in(),
        RuleId::lock(),
    ];
    if own.contains(&id) {
        node.problem_with_help(
            problems,
            format!("`{id}` is a name of guard's own"),
            "choose another: reports name rules, and this one would look like guard's",
        );
        return None;
    }
    Some(id)
}

fn say(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?.trim();
    if text.chars().count() > MAX_SAY || text.chars().any(char::is_control) {
        let message = format!("expected one line of at most {MAX_SAY} characters");
        node.problem(problems, message);
        return None;
    }
    Some(text.to_owned())
}

fn filter(node: &Node, decide: DecisionKind, problems: &mut Problems) -> Option<Filter> {
    let fields = node.fields(problems)?;
    let verbs = Verb::ALL.map(|verb| (verb.as_str(), verb));
    let kinds = ObjectKind::ALL.map(|kind| (kind.as_str(), kind));
    let effects =
        fields.required("effects", problems).and_then(|node| words(node, &verbs, problems));
    let objects = match fields.optional("objects") {
        Some(node) => words(node, &kinds, problems),
        None => Some(None),
    };
    let bounded = match fields.optional("bounded") {
        Some(node) => {
            if let Some(Some(effects)) = &effects
                && !effects.contains(&Verb::Update)
                && !effects.contains(&Verb::Delete)
            {
                node.problem_with_help(
                    problems,
                    "`bounded` says something of `update` and `delete` only",
                    "leave it out, or name one of these effects",
                );
            }
            node.boolean(problems).map(Some)
        }
        None => Some(None),
    };
    let rows = match fields.optional("rows") {
        Some(node) => most_rows(node, decide, effects.as_ref(), problems).map(Some),
        None => Some(None),
    };
    let names = names(&fields, problems);
    let certainty_said = fields.optional("certainty");
    let certainty = match certainty_said {
        Some(node) => words(node, &Level::WORDS, problems).map(|levels| {
            let whole = matches!(
                (&effects, &objects, &bounded, &rows, &names),
                (Some(None) | None, Some(None), Some(None), Some(None), Some(Names::Any))
            );
            let unparsed = match &levels {
                Some(levels) => levels.contains(&Level::Unparsed),
                None => match decide {
                    DecisionKind::Allow | DecisionKind::Approve => true,
                    DecisionKind::Block => false,
                },
            };
            if unparsed && !whole {
                node.problem_with_help(
                    problems,
                    "what is `unparsed` has no known effects, objects or names to be matched by",
                    "give `unparsed` a rule of its own with `effects: \"*\"` and nothing else",
                );
            }
            levels.unwrap_or_else(all_levels)
        }),
        None => Some(match decide {
            DecisionKind::Allow => BTreeSet::from([Level::Exact]),
            DecisionKind::Approve | DecisionKind::Block => all_levels(),
        }),
    };
    let sure = match (certainty_said, decide) {
        (None, DecisionKind::Approve) => Some(BTreeSet::from([Level::Exact])),
        (None, DecisionKind::Allow | DecisionKind::Block) | (Some(_), _) => certainty.clone(),
    };
    fields.finish(
        &["effects", "tables", "functions", "settings", "objects", "bounded", "rows", "certainty"],
        problems,
    );
    Some(Filter {
        effects: effects?,
        names: names?,
        objects: objects?,
        bounded: bounded?,
        rows: rows?,
        certainty: certainty?,
        sure: sure?,
        http: None,
    })
}

/// The most rows of what a rule allows. One that blocks has none: where there is no estimate it would have to block
/// everything, and an estimate that is too low would let through what it is there to stop.
fn most_rows(
    node: &Node,
    decide: DecisionKind,
    effects: Option<&Option<BTreeSet<Verb>>>,
    problems: &mut Problems,
) -> Option<u64> {
    const ESTIMATED: [Verb; 4] = [Verb::Read, Verb::Insert, Verb::Update, Verb::Delete];
    match decide {
        DecisionKind::Allow | DecisionKind::Approve => {}
        DecisionKind::Block => {
            node.problem_with_help(
                problems,
                "`rows` says of what is allowed how much it may be",
                "write it on the rule that allows: what is over it, or not estimated, goes on to the next rules",
            );
            return None;
        }
    }
    if let Some(Some(effects)) = effects
        && !ESTIMATED.iter().any(|verb| effects.contains(verb))
    {
        node.problem_with_help(
            problems,
            "`rows` says something of `read`, `insert`, `update` and `delete` only",
            "leave it out, or name one of these effects",
        );
    }
    let most = node.number(problems)?;
    if most == 0 {
        node.problem_with_help(
            problems,
            "`rows` is 0, and the planner expects at least one row of nearly everything",
            "write 1 or more, or leave the rule out",
        );
        return None;
    }
    Some(most)
}

fn all_levels() -> BTreeSet<Level> {
    Level::WORDS.into_iter().map(|(_, level)| level).collect()
}

/// The names that a rule is limited to: of one kind, so that it is plain what the rule is about.
fn names(fields: &Fields<'_>, problems: &mut Problems) -> Option<Names> {
    let kinds = ["tables", "functions", "settings"];
    let given: Vec<_> =
        kinds.into_iter().filter_map(|kind| Some((kind, fields.optional(kind)?))).collect();
    if let [_, (kind, node), ..] = given.as_slice() {
        node.problem_with_help(
            problems,
            format!("`{kind}` stands beside names of another kind"),
            "write one rule for each of `tables`, `functions` and `settings`",
        );
        return None;
    }
    let Some((kind, node)) = given.first() else { return Some(Names::Any) };
    match *kind {
        "tables" => Some(patterns(node, problems)?.map_or(Names::Any, Names::Tables)),
        "functions" => Some(patterns(node, problems)?.map_or(Names::Any, Names::Functions)),
        _ => Some(patterns(node, problems)?.map_or(Names::Any, Names::Settings)),
    }
}

impl FromStr for FunctionPattern {
    type Err = guard_core::InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Anywhere).or_else(|_| text.parse().map(Self::In))
    }
}

/// Masks of columns, and of fields of answers.
type Entries = (Vec<MaskEntry>, Vec<FieldEntry>);

fn masks(node: &Node, problems: &mut Problems) -> Option<Entries> {
    let nodes = node.list(problems)?;
    let mut entries = Entries::default();
    let mut complete = true;
    for node in nodes {
        match mask(node, problems) {
            Some((columns, fields)) => {
                entries.0.extend(columns);
                entries.1.extend(fields);
            }
            None => complete = false,
        }
    }
    complete.then_some(entries)
}

/// What is looked for in columns that nobody named.
fn detect(node: &Node, problems: &mut Problems) -> Option<Detectors> {
    let fields = node.fields(problems)?;
    let detectors = Detector::ALL.map(|detector| (detector.as_str(), detector));
    let values = fields
        .required("values", problems)
        .and_then(|node| words(node, &detectors, problems))
        .map(|found| {
            found.map_or_else(
                || Detector::ALL.into_iter().collect(),
                |found| found.into_iter().collect(),
            )
        });
    let with = match fields.optional("with") {
        Some(node) => node.one_of(&[("redact", Mask::Redact)], problems),
        None => Some(Mask::Redact),
    };
    fields.finish(&["values", "with"], problems);
    with.and(values)
}

fn mask(node: &Node, problems: &mut Problems) -> Option<Entries> {
    let fields = node.fields(problems)?;
    let about = about(&fields, problems);
    let mask = fields.required("with", problems).and_then(|node| mask_word(node, problems));
    let stable = match fields.optional("stable") {
        Some(node) => stability(node, mask, problems),
        None => Some(Stability::default()),
    };
    let masking = mask.zip(stable).map(|(mask, stable)| Masking { mask, stable });
    let entries = match about {
        Some(About::Http(node)) => {
            let found = fields::read(node, masking, problems);
            found.map(|found| (Vec::new(), found))
        }
        Some(About::Sql(node)) => {
            columns(node, &fields, masking, problems).map(|found| (found, Vec::new()))
        }
        None => None,
    };
    // What is said of columns says nothing of fields.
    let known: &[&str] = match fields.optional("http") {
        Some(_) => &["sql", "http", "with", "stable"],
        None => &["sql", "http", "with", "stable", "derived", "predicates", "withhold"],
    };
    fields.finish(known, problems);
    entries
}

/// The masks of columns.
fn columns(
    node: &Node,
    fields: &Fields<'_>,
    mask: Option<Masking>,
    problems: &mut Problems,
) -> Option<Vec<MaskEntry>> {
    let columns = node.fields(problems).and_then(|sql| {
        let columns = sql.required("columns", problems).and_then(|node| {
            let items = node.one_or_more(problems)?;
            let found: Vec<_> = items.iter().map(|item| item.parsed(problems)).collect();
            found.into_iter().collect::<Option<Vec<_>>>()
        });
        sql.finish(&["columns"], problems);
        columns
    });
    let derived = match fields.optional("derived") {
        Some(node) => node.one_of(&DERIVED, problems),
        None => Some(DerivedFlow::default()),
    };
    let predicates = match fields.optional("predicates") {
        Some(node) => node.one_of(&PREDICATES, problems),
        None => Some(Predicates::default()),
    };
    let withhold = match fields.optional("withhold") {
        Some(node) => node.boolean(problems),
        None => Some(false),
    };
    let (mask, derived, predicates, withhold) = (mask?, derived?, predicates?, withhold?);
    let entry = |column| MaskEntry { column, mask, derived, predicates, withhold };
    Some(columns?.into_iter().map(entry).collect())
}

/// With which key values are hidden: said of masks that have one.
fn stability(node: &Node, mask: Option<Mask>, problems: &mut Problems) -> Option<Stability> {
    let stable = node.one_of(&STABLE, problems)?;
    match mask? {
        Mask::Hash | Mask::Format => {}
        Mask::Redact | Mask::Null | Mask::Partial => {
            node.problem_with_help(
                problems,
                "`stable` says something of `hash` and `format` only",
                "leave it out: the other masks have no key",
            );
        }
    }
    Some(stable)
}

/// `with: null` is a YAML null where a word is expected; it means what it says.
fn mask_word(node: &Node, problems: &mut Problems) -> Option<Mask> {
    if node.is_word_null() { Some(Mask::Null) } else { node.one_of(&MASKS, problems) }
}

/// Feeds arbitrary bytes to the reader.
pub fn fuzz_policy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(policy) = Policy::parse("fuzz.yaml", &text) {
        assert!(!policy.rules.is_empty(), "a policy without rules was read");
    }
}

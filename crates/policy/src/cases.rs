//! The cases of a policy: statements with the decision that its writer expects.
//!
//! They stand beside the policy, `nightly-backup.cases.yaml` beside `nightly-backup.yaml`, with the tables
//! that the statements are about, so that they can be judged without a server.

use guard_core::{
    DecisionKind, Mask, NamePattern, ObjectName, RuleId, TablePattern,
    document::{self, Fields, Node, Position, Problems},
};

/// The cases of one file.
#[derive(Debug, Clone)]
pub struct Cases {
    /// The tables that the statements are about.
    pub tables: Vec<CaseTable>,
    /// Names of functions that somebody made in the database.
    pub functions: Vec<String>,
    /// The OpenAPI document of the API, beside the cases.
    pub openapi: Option<String>,
    /// The cases in their order.
    pub list: Vec<Case>,
}

/// A table that exists as far as the cases are concerned.
#[derive(Debug, Clone)]
pub struct CaseTable {
    /// Schema and name.
    pub name: ObjectName,
    /// Its columns in order.
    pub columns: Vec<String>,
}

/// A statement and what is expected of the policy.
#[derive(Debug, Clone)]
pub struct Case {
    /// Where it stands.
    pub at: Position,
    /// What is asked.
    pub asked: CaseText,
    /// How many rows the server's planner would expect, where that matters.
    pub rows: Option<u64>,
    /// The decision.
    pub expect: DecisionKind,
    /// The rule that makes it, where that matters.
    pub rule: Option<RuleId>,
    /// Whether it is judged with the policy's lock, too: as it stands in a job whose lock this is.
    pub locked: bool,
    /// The masks of the result's columns in order, where that matters.
    pub masks: Option<Vec<Option<Mask>>>,
}

/// What a case asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseText {
    /// A statement, or several as in one message of a client.
    Sql(String),
    /// A request to an HTTP API.
    Http {
        /// `GET /path?name=value`.
        request: String,
        /// Its headers.
        headers: Vec<(String, String)>,
        /// Its body: JSON where no header says otherwise.
        body: String,
    },
}

const CONTENT_TYPE: &str = "Content-Type";

impl CaseText {
    /// The statement or the request.
    pub fn text(&self) -> &str {
        match self {
            Self::Sql(text) | Self::Http { request: text, .. } => text,
        }
    }
}

const MASKS: [(&str, Option<Mask>); 6] = [
    ("none", None),
    ("redact", Some(Mask::Redact)),
    ("null", Some(Mask::Null)),
    ("hash", Some(Mask::Hash)),
    ("partial", Some(Mask::Partial)),
    ("format", Some(Mask::Format)),
];

impl Cases {
    /// Reads the cases of a policy. `file` names the text in problems.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let cases =
            document::parse(file, text, &mut problems).and_then(|node| cases(&node, &mut problems));
        problems.into_result(cases)
    }
}

fn cases(node: &Node, problems: &mut Problems) -> Option<Cases> {
    let fields = node.fields(problems)?;
    let tables = match fields.optional("tables") {
        Some(node) => tables(node, problems),
        None => Some(Vec::new()),
    };
    let functions = match fields.optional("functions") {
        Some(node) => texts(node, problems),
        None => Some(Vec::new()),
    };
    let list = fields.required("cases", problems).and_then(|node| {
        let list: Vec<_> = node.list(problems)?.iter().map(|node| case(node, problems)).collect();
        list.into_iter().collect::<Option<_>>()
    });
    let openapi = match fields.optional("openapi") {
        Some(node) => node.text(problems).map(|text| Some(text.to_owned())),
        None => Some(None),
    };
    fields.finish(&["tables", "functions", "openapi", "cases"], problems);
    Some(Cases { tables: tables?, functions: functions?, openapi: openapi?, list: list? })
}

fn tables(node: &Node, problems: &mut Problems) -> Option<Vec<CaseTable>> {
    let fields = node.fields(problems)?.all();
    let mut tables = Vec::with_capacity(fields.len());
    for (_, key, columns) in &fields {
        let name = table_name(key, problems);
        let columns = texts(columns, problems);
        if let (Some(name), Some(columns)) = (name, columns) {
            tables.push(CaseTable { name, columns });
        }
    }
    (tables.len() == fields.len()).then_some(tables)
}

fn table_name(node: &Node, problems: &mut Problems) -> Option<ObjectName> {
    let pattern: TablePattern = node.parsed(problems)?;
    match (pattern.schema.exact(), pattern.name.exact()) {
        (Some(schema), Some(name)) => Some(ObjectName::qualified(schema, name)),
        (None, _) | (_, None) => {
            node.problem(problems, format!("`{pattern}` is not the name of one table"));
            None
        }
    }
}

/// Names as the server has them: folded to lower case unless quoted, as everywhere in a policy.
fn texts(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let items = node.one_or_more(problems)?;
    let texts: Vec<Option<String>> = items
        .iter()
        .map(|item| {
            let name: NamePattern = item.parsed(problems)?;
            let exact = name.exact().map(str::to_owned);
            if exact.is_none() {
                item.problem(problems, format!("`{name}` is not one name"));
            }
            exact
        })
        .collect();
    texts.into_iter().collect()
}

fn case(node: &Node, problems: &mut Problems) -> Option<Case> {
    let fields = node.fields(problems)?;
    let asked = asked(&fields, problems);
    let expect = fields.required("expect", problems).and_then(|node| {
        let words = [
            ("allow", DecisionKind::Allow),
            ("approve", DecisionKind::Approve),
            ("block", DecisionKind::Block),
        ];
        node.one_of(&words, problems)
    });
    let rows = match fields.optional("rows") {
        Some(node) => node.number(problems).map(Some),
        None => Some(None),
    };
    let rule = match fields.optional("rule") {
        Some(node) => node.parsed(problems).map(Some),
        None => Some(None),
    };
    let locked = match fields.optional("locked") {
        Some(node) => node.boolean(problems),
        None => Some(false),
    };
    let masks = match fields.optional("masks") {
        Some(node) => masks(node, problems).map(Some),
        None => Some(None),
    };
    fields.finish(
        &["sql", "http", "headers", "body", "rows", "expect", "rule", "locked", "masks"],
        problems,
    );
    let (expect, masks, asked, rows) = (expect?, masks?, asked?, rows?);
    if expect == DecisionKind::Block && masks.is_some() {
        node.problem(problems, "a blocked statement has no result to mask");
    }
    if matches!(asked, CaseText::Http { .. }) && (masks.is_some() || rows.is_some()) {
        node.problem(problems, "a request has neither `rows` nor columns with `masks`");
    }
    Some(Case { at: node.at(), asked, rows, expect, rule: rule?, locked: locked?, masks })
}

fn asked(fields: &Fields<'_>, problems: &mut Problems) -> Option<CaseText> {
    let headers = match fields.optional("headers") {
        Some(node) => headers(node, problems),
        None => Some(Vec::new()),
    };
    match (fields.optional("sql"), fields.optional("http")) {
        (Some(_), Some(node)) => {
            node.problem(problems, "both `sql` and `http` stand here: write two cases");
            None
        }
        (None, Some(node)) => {
            let request = node.text(problems)?.to_owned();
            let body = match fields.optional("body") {
                Some(node) => node.text(problems)?.to_owned(),
                None => String::new(),
            };
            let mut headers = headers?;
            let typed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE));
            if !body.is_empty() && !typed {
                headers.push((CONTENT_TYPE.to_owned(), "application/json".to_owned()));
            }
            Some(CaseText::Http { request, headers, body })
        }
        (_, None) => {
            let text = fields.required("sql", problems)?.text(problems)?;
            for key in ["headers", "body"] {
                if let Some(node) = fields.optional(key) {
                    node.problem(problems, format!("a statement has no {key}"));
                }
            }
            Some(CaseText::Sql(text.to_owned()))
        }
    }
}

fn headers(node: &Node, problems: &mut Problems) -> Option<Vec<(String, String)>> {
    let fields = node.fields(problems)?.all();
    let one = |(name, _, node): &(&str, &Node, &Node), problems: &mut Problems| {
        Some(((*name).to_owned(), node.text(problems)?.to_owned()))
    };
    let found: Vec<_> = fields.iter().map(|field| one(field, problems)).collect();
    found.into_iter().collect()
}

fn masks(node: &Node, problems: &mut Problems) -> Option<Vec<Option<Mask>>> {
    let words: Vec<_> = node
        .list(problems)?
        .iter()
        .map(|node| {
            if node.is_word_null() { Some(Some(Mask::Null)) } else { node.one_of(&MASKS, problems) }
        })
        .collect();
    words.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn reads_tables_and_cases() {
        let cases = Cases::parse(
            "p.cases.yaml",
            "tables:\n  public.users: [id, email]\nfunctions: [f]\ncases:\n  - sql: SELECT * FROM users\n    expect: allow\n    rule: reads\n    masks: [none, null]\n",
        )
        .unwrap();
        assert_eq!(cases.tables.first().unwrap().name, ObjectName::qualified("public", "users"));
        let case = cases.list.first().unwrap();
        assert_eq!(case.masks, Some(vec![None, Some(Mask::Null)]));
        assert_eq!(case.at, Position { line: 5, column: 5 });
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let text = "tables:\n  users: [id]\n  public.*: [id]\ncases:\n  - expect: allow\n  - { sql: x, expect: mask }\n  - { sql: x, expect: block, masks: [hide] }\n  - { sql: x, expect: block, masks: [hash] }\n";
        let problems = Cases::parse("c.yaml", text).unwrap_err().to_string();
        for expected in [
            "c.yaml:2:3: `users` has 1 parts",
            "c.yaml:3:3: `public.*` is not the name of one table",
            "c.yaml:5:5: `sql` is missing",
            "c.yaml:6:23: `mask` is not known here",
            "c.yaml:7:38: `hide` is not known here",
            "c.yaml:8:5: a blocked statement has no result to mask",
        ] {
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }
}

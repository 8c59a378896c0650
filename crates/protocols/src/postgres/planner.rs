//! How many rows a statement is about, by the word of the server's planner.
//!
//! The planner is asked on a connection of guard's own, in a transaction that only reads and is rolled back: the
//! statement is planned and never run. What it says holds for the client only if both connections read the
//! statement alike. So the connection begins as the client's did, gets the settings that the server reports of the
//! client's, and where more may differ the planner is not asked: then there is no estimate, and rules that
//! bound rows do not match.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::{BufMut as _, BytesMut};

use super::{
    frame::{put, put_text},
    likeness::{Bound, Parameters, Unknown},
    upstream::Upstream,
};
use crate::{ProtocolError, Resource};

/// How long the server may plan, as a setting in milliseconds.
const STATEMENT_TIMEOUT: &[u8] = b"2000";
/// How long it may wait for a lock, in milliseconds: it may be one of the client's own transaction.
const LOCK_TIMEOUT: &[u8] = b"500";
/// Longest plan that is read, in bytes.
const MAX_PLAN: usize = 4 << 20;

const NO_ANSWER: Unknown = "the server cannot be asked at the moment";
pub(super) const NOT_PLANNED: Unknown = "the server does not plan it on another connection";

/// Asks the planner for all of a session's clients, one after the other.
#[derive(Default)]
pub(super) struct Planner {
    /// Guard's own connection, while nothing is under way on it, and how it began.
    connection: tokio::sync::Mutex<Option<(Parameters, Upstream)>>,
    /// Settings with which connections begin may have been changed: a new one would not be like those before.
    defaults_changed: AtomicBool,
}

/// What is asked.
pub(super) struct Question {
    pub(super) text: String,
    pub(super) bound: Option<Arc<Bound>>,
    /// The tables that it names: none of them may be a temporary one.
    pub(super) tables: Vec<String>,
    pub(super) settings: Vec<(String, Vec<u8>)>,
}

// === impl Planner ===

impl Planner {
    /// Says that settings with which connections begin may have been changed.
    pub(super) fn defaults_changed(&self) {
        self.defaults_changed.store(true, Ordering::Release);
    }

    /// The rows that the planner expects.
    ///
    /// While it is used the connection is out of its place: one that was left in the middle of an answer is not used
    /// again.
    pub(super) async fn ask(
        &self,
        resource: &dyn Resource,
        parameters: Parameters,
        question: &Question,
    ) -> Result<u64, Unknown> {
        let mut place = self.connection.lock().await;
        if self.defaults_changed.load(Ordering::Acquire) {
            return Err("settings with which connections begin were changed in this session");
        }
        let words = question.words();
        let kept = place.take().filter(|(began, _)| *began == parameters);
        let answered = match kept {
            // The server may have closed it since.
            Some((_, mut kept)) => answers(&mut kept, &words).await.ok().map(|rows| (kept, rows)),
            None => None,
        };
        let (upstream, answer) = match answered {
            Some(answered) => answered,
            None => {
                let fresh = async {
                    let mut upstream = connect(resource, &parameters).await?;
                    let answer = answers(&mut upstream, &words).await?;
                    Ok::<_, ProtocolError>((upstream, answer))
                };
                fresh.await.map_err(|error| {
                    tracing::warn!(%error, "the planner cannot be asked");
                    NO_ANSWER
                })?
            }
        };
        *place = Some((parameters, upstream));
        drop(place);
        let answers = answer.map_err(|code| {
            tracing::debug!(%code, "the planner gives no estimate");
            if code == "57014" { "the planner takes too long" } else { NOT_PLANNED }
        })?;
        match answers.as_slice() {
            // Of BEGIN, the settings, temporary tables, and the plan.
            [_, _, temporary, plan] if temporary.is_empty() => {
                let plan: String = plan.iter().flatten().flatten().map(String::as_str).collect();
                rows_of_plan(&plan).ok_or("the planner's answer is not understood")
            }
            [_, _, _, _] => Err("a temporary table has the name of a table that it names"),
            _ => Err(NOT_PLANNED),
        }
    }
}

async fn connect(
    resource: &dyn Resource,
    parameters: &[(Vec<u8>, Vec<u8>)],
) -> Result<Upstream, ProtocolError> {
    let own = [
        (b"application_name".as_slice(), b"guard".as_slice()),
        (b"statement_timeout", STATEMENT_TIMEOUT),
        (b"lock_timeout", LOCK_TIMEOUT),
    ];
    let own = own.map(|(name, value)| (name.to_vec(), value.to_vec()));
    let parameters: Vec<_> = own.into_iter().chain(parameters.iter().cloned()).collect();
    let (upstream, _) = Upstream::connect(resource, &parameters).await?;
    Ok(upstream)
}

/// What the server answers to each of guard's words, or its SQLSTATE.
async fn answers(
    upstream: &mut Upstream,
    words: &[u8],
) -> Result<Result<Vec<Vec<Vec<Option<String>>>>, String>, ProtocolError> {
    upstream.own_transaction(words, MAX_PLAN).await
}

// === impl Question ===

impl Question {
    /// A transaction that only reads, in which the planner is asked, and its end. Each message holds one
    /// statement, so that no second one can ride along.
    fn words(&self) -> BytesMut {
        let mut words = BytesMut::new();
        put_statement(&mut words, "BEGIN READ ONLY", &[], NO_VALUES);
        // Again, whatever the role's own are.
        let mut settings: Vec<&[u8]> =
            vec![b"statement_timeout", STATEMENT_TIMEOUT, b"lock_timeout", LOCK_TIMEOUT];
        for (name, value) in &self.settings {
            settings.extend([name.as_bytes(), value.as_slice()]);
        }
        let call = |number: usize| {
            format!("pg_catalog.set_config(${}, ${}, true)", 2 * number + 1, 2 * number + 2)
        };
        let calls: Vec<_> = (0..settings.len() / 2).map(call).collect();
        let text = format!("SELECT {}", calls.join(", "));
        put_statement(&mut words, &text, &[], &texts(&settings));
        let tables: Vec<_> = self.tables.iter().map(|table| quoted(table)).collect();
        let tables = format!("{{{}}}", tables.join(","));
        put_statement(&mut words, TEMPORARY, &[], &texts(&[tables.as_bytes()]));
        let text = format!("EXPLAIN (FORMAT JSON) {}", self.text);
        let (types, values): (&[i32], &[u8]) = match &self.bound {
            Some(bound) => (bound.types.as_deref().unwrap_or_default(), &bound.values),
            None => (&[], NO_VALUES),
        };
        put_statement(&mut words, &text, types, values);
        put(&mut words, b'S', |_| {});
        put(&mut words, b'Q', |out| put_text(out, b"ROLLBACK"));
        words
    }
}

/// Tables that are there for one connection only, with names of a statement's: there they are found first.
const TEMPORARY: &str = "SELECT c.relname FROM pg_catalog.pg_class c \
    WHERE c.relname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[]) \
        AND c.relpersistence OPERATOR(pg_catalog.=) 't'";

/// Formats and values of a Bind: none.
const NO_VALUES: &[u8] = &[0, 0, 0, 0];

/// An element of an array as text.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Values of a Bind, all of them texts.
fn texts(values: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0, 0];
    // INVARIANT: guard has few settings, and few bytes in each.
    out.put_u16(u16::try_from(values.len()).unwrap_or(0));
    for value in values {
        out.put_u32(u32::try_from(value.len()).unwrap_or(0));
        out.put_slice(value);
    }
    out
}

/// A statement in the extended protocol, with all of its result as text.
fn put_statement(words: &mut BytesMut, text: &str, types: &[i32], values: &[u8]) {
    put(words, b'P', |out| {
        put_text(out, b"");
        put_text(out, text.as_bytes());
        out.put_u16(u16::try_from(types.len()).unwrap_or(0));
        for number in types {
            out.put_i32(*number);
        }
    });
    put(words, b'B', |out| {
        put_text(out, b"");
        put_text(out, b"");
        out.put_slice(values);
        out.put_i16(0);
    });
    put(words, b'E', |out| {
        put_text(out, b"");
        out.put_i32(0);
    });
}

/// The rows that are changed by all parts of a plan, or that it returns, whichever are more.
fn rows_of_plan(json: &str) -> Option<u64> {
    let serde_json::Value::Array(plans) = serde_json::from_str(json).ok()? else { return None };
    if plans.is_empty() {
        return None;
    }
    // Rules can make several plans of one statement.
    let (mut changed, mut returned) = (0_u64, 0_u64);
    for plan in &plans {
        let plan = plan.get("Plan")?;
        changed = changed.saturating_add(changed_by(plan)?);
        returned = returned.saturating_add(rows_of_node(plan)?);
    }
    Some(changed.max(returned))
}

/// The rows that a node and those under it change: a change has them from the nodes that it reads.
fn changed_by(node: &serde_json::Value) -> Option<u64> {
    let none = Vec::new();
    let under = match node.get("Plans") {
        Some(under) => under.as_array()?,
        None => &none,
    };
    let mut changed = 0_u64;
    if node.get("Node Type")?.as_str()? == "ModifyTable" {
        let mut read = under.iter().filter(|node| {
            let relationship = node.get("Parent Relationship").and_then(|word| word.as_str());
            matches!(relationship, Some("Outer" | "Member"))
        });
        let first = rows_of_node(read.next()?)?;
        changed =
            read.try_fold(first, |sum, node| Some(sum.saturating_add(rows_of_node(node)?)))?;
    }
    for node in under {
        changed = changed.saturating_add(changed_by(node)?);
    }
    Some(changed)
}

fn rows_of_node(node: &serde_json::Value) -> Option<u64> {
    let rows = node.get("Plan Rows")?;
    // What no integer holds is more than any bound.
    rows.as_u64().or_else(|| rows.as_f64().map(|_| u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_where_they_are_changed() {
        let table = r#"{"Node Type":"Seq Scan","Parent Relationship":"Outer","Plan Rows":40}"#;
        let member = r#"{"Node Type":"Seq Scan","Parent Relationship":"Member","Plan Rows":2}"#;
        let sub = r#"{"Node Type":"Result","Parent Relationship":"SubPlan","Plan Rows":900}"#;
        let change = |under: &str, way: &str| {
            format!(
                r#"{{"Node Type":"ModifyTable","Parent Relationship":"{way}","Plan Rows":0,"Plans":[{under}]}}"#
            )
        };
        let plan = |node: &str| format!(r#"[{{"Plan":{node}}}]"#);
        let cte = format!(
            r#"{{"Node Type":"CTE Scan","Plan Rows":7,"Plans":[{}]}}"#,
            change(table, "InitPlan")
        );
        for (json, expected) in [
            (plan(table), Some(40)),
            (plan(&change(table, "")), Some(40)),
            (plan(&change(&format!("{member},{member},{sub}"), "")), Some(4)),
            (plan(&cte), Some(40)),
            (plan(&cte.replace("\"Plan Rows\":7", "\"Plan Rows\":70")), Some(70)),
            (format!(r#"[{{"Plan":{table}}},{{"Plan":{table}}}]"#), Some(80)),
            (plan(&table.replace("40", "1e300")), Some(u64::MAX)),
            (plan(&table.replace("40", "18446744073709551616")), Some(u64::MAX)),
            // What is not as it should be is no estimate.
            (plan(&change(sub, "")), None),
            (plan(r#"{"Node Type":"ModifyTable","Plan Rows":0}"#), None),
            (plan(&table.replace("Plan Rows", "Rows")), None),
            (format!(r#"[{{"Plan":{table}}},{{"Utility Statement":"NOTIFY"}}]"#), None),
            ("[]".into(), None),
            ("{}".into(), None),
            (plan(table).replace(']', ""), None),
        ] {
            assert_eq!(rows_of_plan(&json), expected, "{json}");
        }
        let deep = format!("{}{}{}", "[".repeat(9_999), table, "]".repeat(9_999));
        assert_eq!(rows_of_plan(&deep), None);
    }
}

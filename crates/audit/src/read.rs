//! How an event is read.
//!
//! serde reads a tagged enum by way of a tree of all its fields, because the tag may come last. All writers put it
//! first, and nearly all events are statements and what came of them: those two are read as they come.

use std::{collections::BTreeMap, fmt, sync::Arc};

use guard_core::{ApprovalId, Denial, Detector, Exceeded, Sensitive};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        Error as _, IgnoredAny, MapAccess, Visitor,
        value::{MapAccessDeserializer, MapDeserializer},
    },
};
use serde_json::Value;

use crate::{Event, Kept, Outcome, StatementPhase};

/// The name of the field that says which event it is.
const TAG: &str = "type";

/// A field's name.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
enum Key {
    Type,
    Other(String),
}

/// Which event it is.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
enum Kind {
    Statement,
    Finished,
    Other(String),
}

/// The fields of [`Event::Statement`].
#[derive(Deserialize)]
struct Statement {
    statement: u64,
    connection: u64,
    operation: u64,
    phase: StatementPhase,
    #[serde(default)]
    would_refuse: Option<Box<Denial>>,
    #[serde(default)]
    text: Option<Sensitive<Arc<str>>>,
    #[serde(default)]
    estimated_rows: Option<u64>,
    #[serde(default)]
    approval: Option<ApprovalId>,
    #[serde(rename = "type")]
    tag: Option<IgnoredAny>,
}

/// The fields of [`Event::Finished`] and its [`Outcome`].
#[derive(Deserialize)]
struct Finished {
    statement: u64,
    rows: u64,
    bytes: u64,
    masked: u64,
    micros: u64,
    #[serde(default)]
    detected: BTreeMap<Detector, u64>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    budget: Option<Exceeded>,
    #[serde(default)]
    kept: Option<Kept>,
    #[serde(rename = "type")]
    tag: Option<IgnoredAny>,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let mut read: Vec<(String, Value)> = Vec::new();
        match map.next_key()? {
            Some(Key::Type) => match map.next_value()? {
                Kind::Statement => return statement(map),
                Kind::Finished => return finished(map),
                Kind::Other(kind) => read.push((TAG.to_owned(), kind.into())),
            },
            Some(Key::Other(name)) => read.push((name, map.next_value()?)),
            None => {}
        }
        while let Some(field) = map.next_entry()? {
            read.push(field);
        }
        // Fields that are there twice are still seen twice.
        Event::deserialize(MapDeserializer::new(read.into_iter()))
            .map_err(A::Error::custom::<serde_json::Error>)
    }
}

fn statement<'de, A: MapAccess<'de>>(map: A) -> Result<Event, A::Error> {
    let Statement {
        statement,
        connection,
        operation,
        phase,
        would_refuse,
        text,
        estimated_rows,
        approval,
        tag,
    } = Statement::deserialize(MapAccessDeserializer::new(map))?;
    once::<A::Error>(tag)?;
    Ok(Event::Statement {
        statement,
        connection,
        operation,
        phase,
        would_refuse,
        text,
        estimated_rows,
        approval,
    })
}

fn finished<'de, A: MapAccess<'de>>(map: A) -> Result<Event, A::Error> {
    let Finished {
        statement,
        rows,
        bytes,
        masked,
        micros,
        detected,
        status,
        error,
        budget,
        kept,
        tag,
    } = Finished::deserialize(MapAccessDeserializer::new(map))?;
    once::<A::Error>(tag)?;
    let outcome = Outcome { rows, bytes, masked, micros, detected, status, error, budget, kept };
    Ok(Event::Finished { statement, outcome })
}

/// The tag was there before: it must not come again.
fn once<E: serde::de::Error>(again: Option<IgnoredAny>) -> Result<(), E> {
    again.map_or(Ok(()), |_| Err(E::duplicate_field(TAG)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As serde reads it by itself.
    fn plainly(text: &str) -> Option<Event> {
        Event::deserialize(&mut serde_json::Deserializer::from_str(text)).ok()
    }

    #[test]
    fn events_are_read_as_serde_reads_them() {
        let finished =
            r#"{"type":"finished","statement":1,"rows":2,"bytes":3,"masked":4,"micros":5"#;
        let statement =
            r#"{"type":"statement","statement":1,"connection":0,"operation":7,"phase":"execute""#;
        let mut known = 0;
        for text in [
            format!("{finished}}}"),
            format!(r#"{finished},"error":"42601","detected":{{"email":2}}}}"#),
            format!(r#"{finished},"error":null,"more":[1,{{"type":"statement"}}]}}"#),
            format!(r#"{finished},"kept":{{"rows":2,"truncated":true}}}}"#),
            format!(r#"{finished},"kept":{{"rows":-2}}}}"#),
            format!(r#"{finished},"rows":2}}"#),
            format!(r#"{finished},"type":"finished"}}"#),
            format!(r#"{finished},"budget":1}}"#),
            finished.replace(r#","micros":5"#, "}"),
            finished.replace(r#""rows":2"#, r#""rows":-2"#) + "}",
            format!("{statement}}}"),
            format!(r#"{statement},"text":"SELECT 1"}}"#),
            format!(r#"{statement},"text":"\u0000\n\"","would_refuse":null}}"#),
            format!(r#"{statement},"phase":"execute"}}"#),
            format!(r#"{statement},"estimated_rows":12}}"#),
            format!(r#"{statement},"approval":"0192f0c1-2b3c-7d4e-8f50-112233445566"}}"#),
            format!(r#"{statement},"approval":"no"}}"#),
            statement.replace("execute", "other") + "}",
            statement.replace(r#""statement":1,"#, "") + "}",
            r#"{"statement":1,"connection":0,"operation":7,"phase":"prepare","type":"statement"}"#
                .into(),
            r#"{"connection":3,"type":"disconnected","reason":"lost"}"#.into(),
            r#"{"type":"disconnected","connection":3,"reason":null}"#.into(),
            r#"{"type":"disconnected","connection":3,"connection":4,"reason":null}"#.into(),
            r#"{"type":"session-ended","reason":"expired","exit_code":null}"#.into(),
            r#"{"type":"unheard"}"#.into(),
            r#"{"type":1}"#.into(),
            "{}".into(),
            "[]".into(),
        ] {
            let read = serde_json::from_str::<Event>(&text).ok();
            assert_eq!(read, plainly(&text), "{text}");
            known += usize::from(read.is_some());
        }
        assert_eq!(known, 13);
    }

    #[test]
    fn events_of_a_record_are_read_as_serde_reads_them() -> Result<(), serde_json::Error> {
        let record = crate::fixture::backup().lines;
        for line in record.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let entry: Value = serde_json::from_slice(line)?;
            // In another order and in that of the record.
            let sorted = entry.get("event").map(Value::to_string).unwrap_or_default();
            let written = serde_json::from_slice::<crate::Entry>(line)?.event;
            let text = serde_json::to_string(&written)?;
            assert!(String::from_utf8_lossy(line).contains(&text), "{text}");
            assert_eq!(plainly(&text).as_ref(), Some(&written), "{text}");
            assert_eq!(serde_json::from_str::<Event>(&sorted)?, written, "{sorted}");
        }
        Ok(())
    }
}

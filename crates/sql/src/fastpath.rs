//! The FunctionCall message: a function by its oid, with no text around it.
//!
//! Client libraries use it for large objects and hardly anything else. Those functions have the same oid in every
//! server (`pg_proc.dat`); any other function is one of which nothing is known.

use std::sync::Arc;

use guard_core::{
    Certainty, Digest, Effect, Object, ObjectKind, ObjectName, Operation, Outputs, Protocol,
    Sensitive, Verb,
};

/// The functions behind libpq's `lo_…`, which other drivers' interfaces to large objects call, too.
const fn large_object(oid: u32) -> Option<(&'static str, Verb)> {
    Some(match oid {
        715 => ("lo_create", Verb::Update),
        952 => ("lo_open", Verb::Read),
        953 => ("lo_close", Verb::Read),
        954 => ("loread", Verb::Read),
        955 => ("lowrite", Verb::Update),
        956 => ("lo_lseek", Verb::Read),
        957 => ("lo_creat", Verb::Update),
        958 => ("lo_tell", Verb::Read),
        964 => ("lo_unlink", Verb::Drop),
        1004 => ("lo_truncate", Verb::Update),
        3170 => ("lo_lseek64", Verb::Read),
        3171 => ("lo_tell64", Verb::Read),
        3172 => ("lo_truncate64", Verb::Update),
        _ => return None,
    })
}

/// A FunctionCall message. What is not a function of large objects is a call of which nothing else is known.
pub fn fastpath(oid: u32) -> Operation {
    let (text, effect, certainty) = match large_object(oid) {
        Some((name, verb)) => {
            let effect = Effect::new(verb, Object::unnamed(ObjectKind::LargeObject));
            (format!("function call of {name}"), effect, Certainty::Exact)
        }
        None => {
            let function = ObjectName::bare(&format!("oid {oid}"));
            let effect = Effect::new(Verb::Call, Object::named(ObjectKind::Function, function));
            let why = format!("function with oid {oid} is not known");
            (format!("function call of oid {oid}"), effect, Certainty::Partial(why.into()))
        }
    };
    let text: Arc<str> = text.into();
    Operation {
        protocol: Protocol::Postgres,
        label: "FUNCTION CALL".into(),
        effects: vec![effect],
        certainty,
        outputs: Outputs::Unknown("the answer to a function call".into()),
        stores: Vec::new(),
        tested: Vec::new(),
        lifts_read_only: false,
        request: None,
        fingerprint: Digest::of(text.as_bytes()),
        text: Sensitive::new(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::functions::{Class, class};

    #[test]
    fn a_large_objects_function_does_the_same_by_number_and_by_name() {
        let known: Vec<_> = (0..20_000).filter_map(large_object).collect();
        assert_eq!(known.len(), 13);
        for (name, verb) in known {
            let by_name = match class(name) {
                Some(Class::LargeObjectRead) => Verb::Read,
                Some(Class::LargeObjectWrite) => Verb::Update,
                Some(Class::LargeObjectDrop) => Verb::Drop,
                other => panic!("{name} is {other:?}"),
            };
            assert_eq!(verb, by_name, "{name}");
        }
    }

    #[test]
    fn any_other_function_by_number_is_not_known() {
        // lo_import and lo_export reach the server's files; 2096 is pg_terminate_backend.
        for oid in [0, 764, 765, 767, 2096, 16_384, u32::MAX] {
            let operation = fastpath(oid);
            assert!(matches!(operation.certainty, Certainty::Partial(_)), "{oid}");
            assert_eq!(operation.effects[0].verb, Verb::Call, "{oid}");
        }
    }
}

//! What an allowed operation would carry out of masked columns, and whether that can be hidden.
//!
//! A value that comes back in a known output column is rewritten there. A value that would go another
//! way, or that is computed from a masked one, or of which it is not known where it goes, blocks the
//! operation: guard hides a value for certain or does not let it pass.
//!
//! A condition (`WHERE email LIKE 'a%'`) tells something of a value by the rows that it finds. A mask says
//! which conditions may look at its columns; unless it does, all may.

use std::sync::Arc;

use guard_core::{
    Certainty, ColumnMask, ColumnName, ColumnPattern, DerivedFlow, Detectors, Effect, FieldMask,
    Flow, Mask, MaskPlan, Masking, Object, ObjectKind, ObjectName, Operation, Output, Outputs,
    Predicates, Side, Source, Stability, TablePattern, Test, Verb, http::HttpRequest,
};

use super::{fields::FieldEntry, rule::tables_of};

/// Columns that a policy hides.
#[derive(Debug, Clone)]
pub(crate) struct MaskEntry {
    pub(crate) column: ColumnPattern,
    pub(crate) mask: Masking,
    pub(crate) derived: DerivedFlow,
    pub(crate) predicates: Predicates,
    /// Whether the server itself is to refuse the column, where it can be told.
    pub(crate) withhold: bool,
}

/// The `masks` section of a policy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Masks {
    entries: Vec<MaskEntry>,
    columns: Arc<[ColumnMask]>,
    detect: Detectors,
    /// Of HTTP APIs.
    fields: Vec<FieldEntry>,
}

/// Why an operation would carry a masked value out.
pub(crate) struct Leak {
    pub(crate) effect: Option<Effect>,
    pub(crate) why: String,
    pub(crate) hint: &'static str,
}

/// Relations of PostgreSQL itself whose rows hold values of any table's columns, or texts of statements
/// with values in them.
const CARRY_VALUES: [&str; 9] = [
    "pg_statistic",
    "pg_statistic_ext_data",
    "pg_stats",
    "pg_stats_ext",
    "pg_stats_ext_exprs",
    "pg_stat_activity",
    "pg_prepared_statements",
    "pg_cursors",
    "pg_largeobject",
];

const PLAINER: &str =
    "select the masked columns as they are, without computing with them, or leave them out";
const KEEP_IN_PLACE: &str = "leave masked columns out of what is written or passed on";
const NOT_ASKED: &str =
    "leave the masked column out of conditions, joins, orders, groups and counts";
const ONLY_EQUAL: &str =
    "compare the masked column itself by `=` or `IN` with constants or parameters, or leave it out";
const NOT_HERE: &str = "run it in a job whose policy masks nothing";

impl Masks {
    pub(super) fn new(entries: Vec<MaskEntry>, fields: Vec<FieldEntry>, detect: Detectors) -> Self {
        let columns = entries
            .iter()
            .map(|entry| ColumnMask { column: entry.column.clone(), mask: entry.mask })
            .collect();
        Self { entries, columns, detect, fields }
    }

    /// Whether no column is hidden.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a field of a request or an answer is hidden.
    pub(super) fn hides_fields(&self) -> bool {
        !self.fields.is_empty()
    }

    /// What is looked for where no mask names it.
    pub(super) fn detect(&self) -> Detectors {
        self.detect
    }

    /// Whether a mask asks for the key that outlives sessions.
    pub(super) fn needs_lasting_key(&self) -> bool {
        let columns = self.entries.iter().map(|entry| entry.mask);
        let mut all = columns.chain(self.fields.iter().map(FieldEntry::masking));
        all.any(|mask| match mask.stable {
            Stability::Always => true,
            Stability::Run => false,
        })
    }

    /// Whether the server itself is to refuse a column.
    pub(super) fn withholds(&self, column: &ColumnName) -> bool {
        self.entries.iter().any(|entry| entry.withhold && entry.column.matches(column))
    }

    /// Whether the server itself is to refuse some column.
    pub(super) fn withholds_any(&self) -> bool {
        self.entries.iter().any(|entry| entry.withhold)
    }

    /// What is hidden of a request itself.
    pub(super) fn of_request(&self, request: &HttpRequest) -> Vec<FieldMask> {
        let own = self.fields.iter().filter(|entry| match entry.side() {
            Side::Request => true,
            Side::Answer => false,
        });
        own.filter_map(|entry| entry.of(request)).cloned().collect()
    }

    /// How an operation's values are hidden, or why they cannot be.
    pub(super) fn plan(&self, op: &Operation) -> Result<MaskPlan, Leak> {
        if let Some(request) = &op.request {
            let fields = self.fields.iter().filter_map(|entry| entry.of(request)).cloned();
            let (fields, detect) = (fields.collect(), self.detect);
            return Ok(MaskPlan { fields, detect, ..MaskPlan::default() });
        }
        // Detectors look at what comes back, and block nothing.
        if self.is_empty() {
            return Ok(MaskPlan { detect: self.detect, ..MaskPlan::default() });
        }
        match &op.certainty {
            Certainty::Exact => {}
            Certainty::Partial(why) | Certainty::Unparsed(why) => {
                return Err(Leak {
                    effect: None,
                    why: format!("a masked value could leave by what is not understood: {why}"),
                    hint: "write it in a plainer form, or run it in a job whose policy masks nothing",
                });
            }
        }
        for effect in &op.effects {
            self.effect(effect)?;
        }
        for column in &op.stores {
            if self.of(column).is_some() {
                let why =
                    format!("the value of masked `{column}` would go where no mask can follow");
                return Err(Leak { effect: None, why, hint: KEEP_IN_PLACE });
            }
            if is_carrier(&column.table) {
                let why = format!("`{column}` can hold masked values, and no mask can follow them");
                return Err(Leak { effect: None, why, hint: KEEP_IN_PLACE });
            }
        }
        self.tested(op)?;
        let outputs = match &op.outputs {
            Outputs::None => Vec::new(),
            Outputs::Columns(outputs) => self.outputs(outputs)?,
            Outputs::Unknown(why) => {
                self.unknown(op, why)?;
                Vec::new()
            }
        };
        let reach = op.effects.iter().any(|effect| self.reaches(effect));
        let outputs = if outputs.iter().any(Option::is_some) { outputs } else { Vec::new() };
        let (columns, detect) = (self.columns.clone(), self.detect);
        Ok(MaskPlan { outputs, reach, columns, detect, ..MaskPlan::default() })
    }

    /// Effects that move values in ways that cannot be followed, or that move a masked column away from
    /// the name by which it is masked.
    fn effect(&self, effect: &Effect) -> Result<(), Leak> {
        let leak = |why: String, hint| Err(Leak { effect: Some(effect.clone()), why, hint });
        match effect.verb {
            Verb::Call
            | Verb::Code
            | Verb::Program
            | Verb::File
            | Verb::Network
            | Verb::Replication => leak(
                "it could carry masked values by ways that guard does not see".into(),
                NOT_HERE,
            ),
            Verb::Alter => {
                // Whatever belongs to an extension moves with it to another schema.
                let moves = effect.object.kind == ObjectKind::Extension;
                if moves || self.touches(&effect.object) || self.contains_masked(&effect.object) {
                    let why = "masks go by names, which this could move away from the values";
                    return leak(why.into(), NOT_HERE);
                }
                Self::trigger(effect)
            }
            Verb::Create => Self::trigger(effect),
            Verb::Read => {
                if is_toast(&effect.object) {
                    let why = "it reads the storage behind tables, where no column has a name";
                    return leak(why.into(), "read the table itself");
                }
                Ok(())
            }
            Verb::Insert
            | Verb::Update
            | Verb::Delete
            | Verb::Truncate
            | Verb::Drop
            | Verb::Grant
            | Verb::Role
            | Verb::Signal
            | Verb::Config
            | Verb::Session
            | Verb::Transaction
            | Verb::Lock
            | Verb::Notify
            | Verb::Maintain => Ok(()),
        }
    }

    /// A trigger or a rule runs with every later write and could copy the row elsewhere.
    fn trigger(effect: &Effect) -> Result<(), Leak> {
        if effect.object.kind == ObjectKind::Trigger {
            let why = "a trigger or rule could copy masked values elsewhere".to_owned();
            return Err(Leak { effect: Some(effect.clone()), why, hint: NOT_HERE });
        }
        Ok(())
    }

    fn outputs(&self, outputs: &[Output]) -> Result<Vec<Option<Masking>>, Leak> {
        outputs.iter().enumerate().map(|(index, output)| self.output(index, output)).collect()
    }

    fn output(&self, index: usize, output: &Output) -> Result<Option<Masking>, Leak> {
        let mut mask: Option<Masking> = None;
        for source in &output.sources {
            let Some((found, derived)) = self.of(&source.column) else { continue };
            let flow = match source.flow {
                Flow::Either | Flow::Given if !self.is_comparable(source.flow, found, output) => {
                    Flow::Plain
                }
                Flow::Plain => Flow::Plain,
                Flow::Either | Flow::Given | Flow::Derived => Flow::Derived,
            };
            let found = match (flow, derived) {
                (Flow::Plain | Flow::Either | Flow::Given, _) => found,
                (Flow::Derived, DerivedFlow::Redact) => found.stricter(Mask::Redact.into()),
                (Flow::Derived, DerivedFlow::Block) => {
                    return Err(Leak {
                        effect: None,
                        why: match source.flow {
                            Flow::Plain | Flow::Derived => format!(
                                "output column {} is computed from masked `{}`",
                                index + 1,
                                source.column
                            ),
                            Flow::Either | Flow::Given => format!(
                                "output column {} holds other values beside masked `{}`, by whose masks these could be found",
                                index + 1,
                                source.column
                            ),
                        },
                        hint: PLAINER,
                    });
                }
            };
            mask = Some(mask.map_or(found, |mask| mask.stricter(found)));
        }
        Ok(mask)
    }

    /// Whether values that are not hidden would be masked beside those that are. Whoever has a value and its
    /// mask can find it among the others, and of numbers or short texts can have all.
    fn is_comparable(&self, flow: Flow, masking: Masking, output: &Output) -> bool {
        let tells = match masking.mask {
            Mask::Hash | Mask::Format => true,
            Mask::Redact | Mask::Null | Mask::Partial => false,
        };
        let is_open = |source: &Source| match source.flow {
            Flow::Plain | Flow::Either | Flow::Given => self.of(&source.column).is_none(),
            Flow::Derived => false,
        };
        tells && (flow == Flow::Given || output.sources.iter().any(is_open))
    }

    /// What conditions, orders and groups may look at.
    fn tested(&self, op: &Operation) -> Result<(), Leak> {
        for tested in &op.tested {
            let Some(column) = &tested.column else {
                if self.entries.iter().all(|entry| entry.predicates == Predicates::Allow) {
                    continue;
                }
                let Some(effect) = self.suspect(op) else { continue };
                let why = "a condition looks at a value whose origin is not known, and it could be masked";
                let effect = Some(effect.clone());
                return Err(Leak { effect, why: why.into(), hint: NOT_ASKED });
            };
            let allowed = self.entries.iter().filter(|entry| entry.column.matches(column));
            let allowed = allowed.map(|entry| entry.predicates).max().unwrap_or_default();
            let (why, hint) = match (allowed, tested.how) {
                (Predicates::Allow, Test::Equality | Test::Other)
                | (Predicates::Equality, Test::Equality) => continue,
                (Predicates::Equality, Test::Other) => (
                    format!(
                        "masked `{column}` is looked at by more than `=`, which would tell of its values"
                    ),
                    ONLY_EQUAL,
                ),
                (Predicates::Block, Test::Equality | Test::Other) => (
                    format!(
                        "which rows are found depends on masked `{column}`, which would tell of its values"
                    ),
                    NOT_ASKED,
                ),
            };
            return Err(Leak { effect: None, why, hint });
        }
        Ok(())
    }

    /// Rows of unknown origin may come back only if no masked value can be in them.
    fn unknown(&self, op: &Operation, why: &str) -> Result<(), Leak> {
        match self.suspect(op) {
            Some(effect) => Err(Leak {
                effect: Some(effect.clone()),
                why: format!("masked values could be in rows whose origin is not known: {why}"),
                hint: PLAINER,
            }),
            None => Ok(()),
        }
    }

    /// An effect on what holds masked values, or may.
    fn suspect<'o>(&self, op: &'o Operation) -> Option<&'o Effect> {
        op.effects
            .iter()
            .find(|e| self.touches(&e.object) || e.object.name.as_ref().is_some_and(is_carrier))
    }

    /// The mask of a column, the strictest of all that match it.
    fn of(&self, column: &ColumnName) -> Option<(Masking, DerivedFlow)> {
        let fitting = self.entries.iter().filter(|entry| entry.column.matches(column));
        fitting.map(|entry| (entry.mask, entry.derived)).reduce(|one, other| {
            let derived = match (one.1, other.1) {
                (DerivedFlow::Redact, DerivedFlow::Redact) => DerivedFlow::Redact,
                (DerivedFlow::Block, _) | (_, DerivedFlow::Block) => DerivedFlow::Block,
            };
            (one.0.stricter(other.0), derived)
        })
    }

    /// Whether the server, when it does this, reads masked values that its words may tell of.
    fn reaches(&self, effect: &Effect) -> bool {
        let builds = match effect.object.kind {
            // Which table it is of is not said; `Key (email)=(…) is duplicated` would be.
            ObjectKind::Index => true,
            ObjectKind::Schema | ObjectKind::Database => effect.verb == Verb::Maintain,
            ObjectKind::Table
            | ObjectKind::View
            | ObjectKind::Column
            | ObjectKind::Sequence
            | ObjectKind::Function
            | ObjectKind::Role
            | ObjectKind::Setting
            | ObjectKind::Extension
            | ObjectKind::Trigger
            | ObjectKind::Type
            | ObjectKind::LargeObject
            | ObjectKind::Channel
            | ObjectKind::Path
            | ObjectKind::Other => false,
        };
        builds || self.touches(&effect.object)
    }

    /// Whether an object has masked columns, or might.
    fn touches(&self, object: &Object) -> bool {
        let any = |fits: &dyn Fn(&TablePattern) -> bool| {
            self.entries.iter().any(|entry| fits(&entry.column.table))
        };
        match (object.kind, &object.name) {
            (ObjectKind::Table | ObjectKind::View, Some(name)) => any(&|table| table.matches(name)),
            (ObjectKind::Column, Some(name)) => {
                any(&|table| tables_of(name).any(|name| table.matches(&name)))
            }
            (ObjectKind::Table | ObjectKind::View | ObjectKind::Column, None) => true,
            (
                ObjectKind::Index
                | ObjectKind::Sequence
                | ObjectKind::Function
                | ObjectKind::Schema
                | ObjectKind::Database
                | ObjectKind::Role
                | ObjectKind::Setting
                | ObjectKind::Extension
                | ObjectKind::Trigger
                | ObjectKind::Type
                | ObjectKind::LargeObject
                | ObjectKind::Channel
                | ObjectKind::Path
                | ObjectKind::Other,
                _,
            ) => false,
        }
    }

    /// Whether an object is a schema in which masked tables may be.
    fn contains_masked(&self, object: &Object) -> bool {
        object.kind == ObjectKind::Schema
            && object.name.as_ref().is_none_or(|name| {
                self.entries.iter().any(|entry| entry.column.table.schema.matches(&name.name))
            })
    }
}

fn is_toast(object: &Object) -> bool {
    let schema = object.name.as_ref().and_then(|name| name.schema.as_deref());
    schema.is_some_and(|schema| schema.starts_with("pg_toast"))
}

fn is_carrier(name: &ObjectName) -> bool {
    name.schema.as_deref() == Some("pg_catalog") && CARRY_VALUES.contains(&&*name.name)
}

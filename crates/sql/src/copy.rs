//! COPY: what it reads or writes, and how its rows look on the wire.

use guard_core::{Bounded, ObjectKind, Outputs, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    CopyFormat, CopyOptions, StatementRole,
    analyzer::Analyzer,
    nodes::{constant, string},
    value::{Columns, Scope, Value},
};

impl Analyzer<'_> {
    /// COPY.
    pub(crate) fn copy(&mut self, copy: &pg::CopyStmt) -> StatementRole {
        let scope = Scope::default();
        let columns = match (&copy.relation, copy.query.as_deref().and_then(|q| q.node.as_ref())) {
            (Some(var), _) if copy.is_from => {
                self.write(Verb::Insert, var, Bounded::NotApplicable);
                let mut inner = Scope::default();
                let own = self.range_targets(var);
                for target in own {
                    let columns = self.columns_of(&target);
                    inner.add(&var.relname, std::rc::Rc::new(columns));
                }
                self.look(copy.where_clause.as_deref(), &inner);
                Columns::closed(Vec::new())
            }
            (Some(var), _) => self.copied(var, &copy.attlist),
            (None, Some(NodeEnum::SelectStmt(select))) => self.select(select, &scope),
            (None, Some(NodeEnum::InsertStmt(insert))) => self.insert(insert, &scope),
            (None, Some(NodeEnum::UpdateStmt(update))) => self.update(update, &scope),
            (None, Some(NodeEnum::DeleteStmt(delete))) => self.delete(delete, &scope),
            (None, Some(NodeEnum::MergeStmt(merge))) => self.merge(merge, &scope),
            (None, Some(_) | None) => {
                self.draft.doubt("a COPY of a kind that guard does not know");
                Columns::unknown("a COPY of a kind that guard does not know")
            }
        };
        let options = self.copy_options(&copy.options);
        if copy.is_program || !copy.filename.is_empty() {
            let verb = if copy.is_program { Verb::Program } else { Verb::File };
            self.draft.at(verb, ObjectKind::Other);
            self.draft.store(&columns.whole());
            return StatementRole::Plain;
        }
        if copy.is_from {
            return StatementRole::CopyIn(options);
        }
        self.draft.outputs = columns.outputs();
        StatementRole::CopyOut(options)
    }

    /// The columns of `COPY table TO`, in the order in which they travel.
    fn copied(&mut self, var: &pg::RangeVar, attributes: &[pg::Node]) -> Columns {
        let mut all = self.read(var);
        self.looked_at(&all.whole());
        let names: Vec<&str> = attributes.iter().filter_map(string).collect();
        if !names.is_empty() {
            let column = |name: &&str| {
                let found = all.named(name).map(|(value, _)| value);
                let value = found.unwrap_or_else(|| {
                    self.missing.set(true);
                    Value::unknown("a column that is not known")
                });
                ((*name).into(), value)
            };
            return Columns::closed(names.iter().map(column).collect());
        }
        let targets = self.range_targets(var);
        let generated: Vec<_> = targets
            .iter()
            .filter_map(|target| target.relation.as_ref())
            .flat_map(|relation| relation.columns.iter().filter(|column| column.generated))
            .map(|column| column.name.clone())
            .collect();
        if generated.is_empty() {
            return all;
        }
        if targets.len() > 1 {
            return Columns::unknown("a name that stands for several relations");
        }
        all.list.retain(|(name, _)| !generated.contains(name));
        all
    }

    fn copy_options(&mut self, nodes: &[pg::Node]) -> CopyOptions {
        let options = nodes.iter().filter_map(|node| match &node.node {
            Some(NodeEnum::DefElem(option)) => Some(&**option),
            Some(_) | None => None,
        });
        let (mut format, mut header) = (CopyFormat::Text, false);
        let (mut delimiter, mut null, mut quote, mut escape) = (None, None, None, None);
        for option in options {
            let text = option.arg.as_deref().and_then(constant);
            let word = text.as_deref().unwrap_or_default();
            match option.defname.as_str() {
                "format" => match word {
                    "text" => format = CopyFormat::Text,
                    "csv" => format = CopyFormat::Csv,
                    "binary" => format = CopyFormat::Binary,
                    _ => self.draft.doubt("a COPY format that is not known"),
                },
                "delimiter" => delimiter = self.copy_byte(word),
                "quote" => quote = self.copy_byte(word),
                "escape" => escape = self.copy_byte(word),
                "null" => null = Some(word.to_owned()),
                "header" => {
                    header = match word.to_ascii_lowercase().as_str() {
                        "" | "on" | "true" | "1" | "match" => true,
                        "off" | "false" | "0" => false,
                        _ => {
                            self.draft.doubt("a COPY header that is not known");
                            true
                        }
                    }
                }
                "encoding" => {
                    let plain: String = word.chars().filter(char::is_ascii_alphanumeric).collect();
                    if !matches!(plain.to_ascii_lowercase().as_str(), "utf8" | "unicode") {
                        self.draft.doubt("a COPY encoding other than UTF-8");
                    }
                }
                // These change what is quoted or how input is taken, not where a field ends.
                "force_quote" | "force_not_null" | "force_null" | "freeze" | "on_error"
                | "log_verbosity" | "reject_limit" | "default" => {}
                other => {
                    let why = format!("COPY option `{other}` is not known");
                    self.draft.doubt(&why);
                }
            }
        }
        let csv = format == CopyFormat::Csv;
        let quote = quote.unwrap_or(b'"');
        CopyOptions {
            format,
            delimiter: delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
            null: null.unwrap_or_else(|| if csv { String::new() } else { "\\N".into() }).into(),
            quote,
            escape: escape.unwrap_or(quote),
            header,
        }
    }

    fn copy_byte(&mut self, word: &str) -> Option<u8> {
        match word.as_bytes() {
            [byte] => Some(*byte),
            _ => {
                self.draft.doubt("a COPY separator that is not one byte");
                None
            }
        }
    }

    /// What a cursor's or a prepared statement's statements do, as one.
    pub(crate) fn stand_in(
        &mut self,
        what: &str,
        name: &str,
        found: &[std::sync::Arc<crate::Statement>],
    ) -> Outputs {
        let mut outputs: Option<Outputs> = None;
        for statement in found {
            self.draft.take(&statement.operation);
            self.draft.uncounted |= statement.uncounted;
            self.draft.follows |= statement.follows;
            let theirs = statement.operation.outputs.clone();
            outputs = Some(match outputs {
                None => theirs,
                Some(held) => either(held, theirs),
            });
        }
        outputs.unwrap_or_else(|| {
            let why = format!("{what} `{name}` is not known");
            self.draft.doubt(&why);
            Outputs::Unknown(why.into())
        })
    }
}

/// The columns of one result or another.
fn either(held: Outputs, other: Outputs) -> Outputs {
    match (held, other) {
        (Outputs::Columns(mut held), Outputs::Columns(other)) if held.len() == other.len() => {
            for (held, other) in held.iter_mut().zip(other) {
                for source in other.sources {
                    match held.sources.iter_mut().find(|s| s.column == source.column) {
                        Some(known) => known.flow = known.flow.max(source.flow),
                        None => held.sources.push(source),
                    }
                }
            }
            Outputs::Columns(held)
        }
        (held, other) if held == other => held,
        (Outputs::Unknown(why), _) | (_, Outputs::Unknown(why)) => Outputs::Unknown(why),
        (Outputs::None | Outputs::Columns(_), Outputs::None | Outputs::Columns(_)) => {
            Outputs::Unknown("a name that stands for several statements".into())
        }
    }
}

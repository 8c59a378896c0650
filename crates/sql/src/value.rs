//! Where a value comes from, and the columns of a row source.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use guard_core::{ColumnName, Flow, ObjectName, Output, Outputs, Source};

use crate::origin::Origin;

/// Most columns that a row source may have before guard gives up on it. PostgreSQL's own limit for
/// a result is 1 664.
const MAX_COLUMNS: usize = 1664;

/// Every base column that a value may come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Value {
    sources: BTreeMap<ColumnName, Flow>,
    unknown: Option<Arc<str>>,
    /// It may be one of several columns' values.
    either: bool,
    /// It may be a value that the statement gives, by a constant or by computing it.
    given: bool,
    /// The credential that it is or holds.
    credential: Option<Arc<ColumnName>>,
}

impl Value {
    /// A value that comes from no column: a constant, a parameter.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// A column's own value.
    pub(crate) fn plain(column: ColumnName) -> Self {
        Self { sources: BTreeMap::from([(column, Flow::Plain)]), ..Self::default() }
    }

    /// A value whose origin is not known.
    pub(crate) fn unknown(why: &str) -> Self {
        Self { unknown: Some(why.into()), ..Self::default() }
    }

    /// A column of the server's catalog that holds a credential.
    pub(crate) fn credential(column: ColumnName) -> Self {
        let why = format!("`{column}` holds a credential").into();
        Self { unknown: Some(why), credential: Some(column.into()), ..Self::default() }
    }

    /// The credential that it is or holds, if so.
    pub(crate) const fn reveals(&self) -> Option<&Arc<ColumnName>> {
        self.credential.as_ref()
    }

    /// Adds what another value may come from.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for (column, flow) in &other.sources {
            let held = self.sources.entry(column.clone()).or_insert(*flow);
            *held = (*held).max(*flow);
        }
        self.either |= other.either;
        self.given |= other.given;
        if self.unknown.is_none() {
            self.unknown.clone_from(&other.unknown);
        }
        if self.credential.is_none() {
            self.credential.clone_from(&other.credential);
        }
    }

    /// Adds what it may be instead: of the rows of a UNION, of the arms of a CASE.
    pub(crate) fn or(&mut self, other: &Self) {
        let differ = !self.sources.is_empty()
            && !other.sources.is_empty()
            && !self.sources.keys().eq(other.sources.keys());
        self.either |= differ;
        self.absorb(other);
    }

    /// Adds what it equals: it is no other value than either of them is.
    pub(crate) fn equals(&mut self, other: &Self) {
        let is_sure = |value: &Self| !value.sources.is_empty() && !value.given && !value.either;
        if is_sure(self) || is_sure(other) {
            self.absorb(other);
            (self.given, self.either) = (false, false);
        } else {
            self.or(other);
        }
    }

    /// Says that the statement gives it, if it comes from no column.
    pub(crate) fn given(mut self) -> Self {
        self.given |= self.sources.is_empty();
        self
    }

    /// What decided which value it is, and is not the value itself.
    pub(crate) fn deciding(self) -> Self {
        Self { given: false, either: false, ..self.derived() }
    }

    /// The same sources, of which only something computed travels on.
    pub(crate) fn derived(mut self) -> Self {
        self.given |= !self.sources.is_empty();
        self.sources.values_mut().for_each(|flow| *flow = Flow::Derived);
        self
    }

    /// The base columns.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &ColumnName> {
        self.sources.keys()
    }

    /// Whether it is a base column's own value and nothing else.
    pub(crate) fn is_plain(&self) -> bool {
        self.unknown.is_none()
            && !self.sources.is_empty()
            && self.sources.values().all(|flow| *flow == Flow::Plain)
    }

    /// Whether what comes from a column is the column's own value, uncomputed.
    pub(crate) fn is_itself(&self, column: &ColumnName) -> bool {
        self.sources.get(column) == Some(&Flow::Plain)
    }

    /// Why its origin is not known, if so.
    pub(crate) fn why_unknown(&self) -> Option<&Arc<str>> {
        self.unknown.as_ref()
    }

    fn output(&self) -> Output {
        let least = match (self.given, self.either) {
            (true, _) => Flow::Given,
            (false, true) => Flow::Either,
            (false, false) => Flow::Plain,
        };
        let source = |(column, flow): (&ColumnName, &Flow)| Source {
            column: column.clone(),
            flow: (*flow).max(least),
        };
        Output { sources: self.sources.iter().map(source).collect() }
    }
}

/// What a row source may hold beside the columns that are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing.
    Closed,
    /// Columns of a relation that the catalog does not know.
    Relation(ObjectName),
    /// Columns of which each comes from this value.
    Each(Value),
}

/// The columns of a row source, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Name and origin of each.
    pub(crate) list: Vec<(Arc<str>, Value)>,
    /// What else there may be.
    pub(crate) rest: Rest,
    /// Where the rows come from.
    pub(crate) origin: Origin,
}

impl Columns {
    /// These columns and no others.
    pub(crate) fn closed(list: Vec<(Arc<str>, Value)>) -> Self {
        if list.len() > MAX_COLUMNS {
            return Self::unknown("more columns than PostgreSQL allows");
        }
        Self { list, rest: Rest::Closed, origin: Origin::default() }
    }

    /// Columns of which nothing is known.
    pub(crate) fn unknown(why: &str) -> Self {
        let origin = Origin { open: true, ..Origin::default() };
        Self { list: Vec::new(), rest: Rest::Each(Value::unknown(why)), origin }
    }

    /// Columns whose number is not known and which all come from one value.
    pub(crate) fn each(value: Value) -> Self {
        Self { list: Vec::new(), rest: Rest::Each(value), origin: Origin::default() }
    }

    /// The value of a named column, and whether the column is surely there.
    pub(crate) fn named(&self, name: &str) -> Option<(Value, bool)> {
        let mut found: Option<Value> = None;
        for (_, value) in self.list.iter().filter(|(n, _)| &**n == name) {
            found.get_or_insert_default().absorb(value);
        }
        if let Some(value) = found {
            return Some((value, true));
        }
        match &self.rest {
            Rest::Closed => None,
            Rest::Relation(table) => {
                let column = ColumnName { table: table.clone(), column: name.into() };
                Some((Value::plain(column), false))
            }
            Rest::Each(value) => Some((value.clone(), false)),
        }
    }

    /// The row as one value.
    pub(crate) fn whole(&self) -> Value {
        let mut all = Value::none();
        self.list.iter().for_each(|(_, value)| all.absorb(value));
        match &self.rest {
            Rest::Closed => {}
            Rest::Relation(table) => {
                all.absorb(&Value::unknown(&format!("the columns of `{table}` are not known")));
            }
            Rest::Each(value) => all.absorb(value),
        }
        all.derived()
    }

    /// The names of those that are base columns; `None` if they are not known.
    pub(crate) fn base_columns(&self) -> Option<Vec<Arc<str>>> {
        let plain = self.list.iter().filter(|(_, value)| value.is_plain());
        (self.rest == Rest::Closed).then(|| plain.map(|(name, _)| name.clone()).collect())
    }

    /// Unites the columns of another source by position, as UNION does.
    pub(crate) fn unite(&mut self, other: &Self) {
        self.origin.absorb(&other.origin);
        for (position, (name, value)) in other.list.iter().enumerate() {
            match self.list.get_mut(position) {
                Some((_, held)) => held.or(value),
                None => self.list.push((name.clone(), value.clone())),
            }
        }
        match (&mut self.rest, &other.rest) {
            (_, Rest::Closed) => {}
            (Rest::Each(held), rest) => held.or(&rest.value()),
            (held @ (Rest::Closed | Rest::Relation(_)), rest) => {
                let mut value = held.value();
                value.absorb(&rest.value());
                *held = Rest::Each(value);
            }
        }
    }

    /// Puts the columns of another source behind these.
    pub(crate) fn append(&mut self, more: &Self) {
        let mut origin = self.origin.clone();
        origin.absorb(&more.origin);
        match (&mut self.rest, &more.rest) {
            (Rest::Closed, Rest::Closed) => {
                let mut list = std::mem::take(&mut self.list);
                list.extend(more.list.iter().cloned());
                *self = Self::closed(list);
            }
            (Rest::Closed, Rest::Relation(_)) if self.list.is_empty() => {
                *self = more.clone();
            }
            _ => {
                let mut value = self.whole();
                value.absorb(&more.whole());
                self.list.extend(more.list.iter().cloned());
                self.rest = Rest::Each(value);
            }
        }
        self.origin = origin;
    }

    /// Gives the first columns other names, as `AS t(a, b)` does.
    pub(crate) fn renamed(mut self, names: &[Arc<str>]) -> Self {
        if self.list.len() < names.len() && self.rest != Rest::Closed {
            let value = self.rest.value();
            self.list.resize_with(names.len(), || ("".into(), value.clone()));
        }
        for ((held, _), name) in self.list.iter_mut().zip(names) {
            *held = name.clone();
        }
        self
    }

    /// What a client receives.
    pub(crate) fn outputs(&self) -> Outputs {
        if let Rest::Relation(_) | Rest::Each(_) = &self.rest {
            let value = self.rest.value();
            let why = value.unknown.unwrap_or_else(|| "the number of columns is not known".into());
            return Outputs::Unknown(why);
        }
        match self.list.iter().find_map(|(_, value)| value.unknown.clone()) {
            Some(why) => Outputs::Unknown(why),
            None => Outputs::Columns(self.list.iter().map(|(_, value)| value.output()).collect()),
        }
    }
}

impl Rest {
    fn value(&self) -> Value {
        match self {
            Self::Closed => Value::none(),
            Self::Relation(table) => {
                Value::unknown(&format!("the columns of `{table}` are not known"))
            }
            Self::Each(value) => value.clone(),
        }
    }
}

/// One row source of a FROM list.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The name that it goes by.
    pub(crate) alias: Arc<str>,
    /// Its columns.
    pub(crate) columns: Rc<Columns>,
}

/// What names mean at one place of a statement.
#[derive(Debug, Default)]
pub(crate) struct Scope<'p> {
    parent: Option<&'p Scope<'p>>,
    ctes: Vec<(Arc<str>, Rc<Columns>)>,
    /// The row sources, in order.
    pub(crate) entries: Vec<Entry>,
}

impl<'p> Scope<'p> {
    /// A place inside another.
    pub(crate) fn inside(parent: &'p Scope<'p>) -> Self {
        Self { parent: Some(parent), ctes: Vec::new(), entries: Vec::new() }
    }

    /// The place around it.
    pub(crate) const fn around(&self) -> Option<&'p Self> {
        self.parent
    }

    /// Makes a WITH query known, or says what it is by now.
    pub(crate) fn define(&mut self, name: &str, columns: Rc<Columns>) {
        self.ctes.retain(|(held, _)| &**held != name);
        self.ctes.push((name.into(), columns));
    }

    /// The WITH query of a name.
    pub(crate) fn cte(&self, name: &str) -> Option<Rc<Columns>> {
        let here = self.ctes.iter().find(|(held, _)| &**held == name).map(|(_, c)| c.clone());
        here.or_else(|| self.parent?.cte(name))
    }

    /// Adds a row source.
    pub(crate) fn add(&mut self, alias: &str, columns: Rc<Columns>) {
        self.entries.push(Entry { alias: alias.into(), columns });
    }

    /// The columns behind a row source's name.
    pub(crate) fn row(&self, alias: &str) -> Option<Columns> {
        let mut named = self.entries.iter().filter(|e| &*e.alias == alias);
        let Some(first) = named.next() else { return self.parent?.row(alias) };
        let mut columns = (*first.columns).clone();
        for other in named {
            columns.list.extend(other.columns.list.iter().cloned());
            if other.columns.rest != Rest::Closed {
                columns.rest =
                    Rest::Each(Value::unknown("a name that stands for several row sources"));
            }
        }
        Some(columns)
    }

    /// The place itself and those around it.
    fn outwards(&self) -> impl Iterator<Item = &Scope<'p>> {
        std::iter::successors(Some(self), |scope| scope.parent)
    }

    /// The value behind an unqualified name: a column, else a whole row.
    ///
    /// A column of a place around this one comes before a row of this one: PostgreSQL looks for columns at all
    /// places first (`transformColumnRef`).
    pub(crate) fn name(&self, name: &str) -> Option<Value> {
        let mut found: Option<Value> = None;
        for scope in self.outwards() {
            let mut sure = false;
            for (value, certain) in scope.entries.iter().filter_map(|e| e.columns.named(name)) {
                // A name that two of them have is one that a join merged.
                found.get_or_insert_default().or(&value);
                sure |= certain;
            }
            if sure {
                return found;
            }
        }
        for scope in self.outwards() {
            let mut rows = scope.entries.iter().filter(|e| &*e.alias == name).peekable();
            if rows.peek().is_some() {
                let held = found.get_or_insert_default();
                rows.for_each(|row| held.absorb(&row.columns.whole()));
                return found;
            }
        }
        found
    }

    /// The same place, as far as some of its row sources go.
    pub(crate) fn part(&self, entries: std::ops::Range<usize>) -> Self {
        let entries = self.entries.get(entries).unwrap_or_default().to_vec();
        Self { parent: self.parent, ctes: self.ctes.clone(), entries }
    }
}

//! The state of one statement's analysis, and how it turns names into objects.

use std::{
    cell::Cell,
    collections::{BTreeSet, HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use guard_core::{ColumnName, ObjectKind, ObjectName, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    Catalog, Names, Relation, RelationKind, Statement,
    bounded::Queries,
    draft::Draft,
    origin::Origin,
    routines::{Events, RoutineId},
    value::{Columns, Rest, Value},
};

/// Nodes and columns that are looked at for one statement before guard gives up on it. A dump's
/// largest catalog query takes some thousands.
const BUDGET: u32 = 400_000;

/// Views within views that are followed.
const MAX_VIEWS: usize = 24;

/// Catalog relations and columns that show other people's values, secrets or statements.
const REVEALING: [(&str, &[&str]); 12] = [
    ("pg_statistic", &["stavalues1", "stavalues2", "stavalues3", "stavalues4", "stavalues5"]),
    ("pg_statistic_ext_data", &["stxdmcv", "stxdexpr"]),
    (
        "pg_stats",
        &["most_common_vals", "histogram_bounds", "most_common_elems", "range_bounds_histogram"],
    ),
    ("pg_stats_ext", &["most_common_vals"]),
    ("pg_stats_ext_exprs", &["most_common_vals", "histogram_bounds", "most_common_elems"]),
    ("pg_largeobject", &["data"]),
    ("pg_stat_activity", &["query"]),
    ("pg_prepared_statements", &["statement"]),
    ("pg_cursors", &["statement"]),
    ("pg_hba_file_rules", &["database", "user_name", "address", "options"]),
    ("pg_file_settings", &["setting"]),
    ("pg_stat_statements", &["query"]),
];

/// Catalog columns that hold credentials. Looking at one is an effect of its own: it is no read of the
/// database's data. (`pg_subscription.subconninfo` is left out, since every dump reads it.)
const CREDENTIALS: [(&str, &str); 6] = [
    ("pg_authid", "rolpassword"),
    ("pg_shadow", "passwd"),
    ("pg_user_mapping", "umoptions"),
    ("pg_user_mappings", "umoptions"),
    ("_pg_user_mappings", "umoptions"),
    ("user_mapping_options", "option_value"),
];

/// Views that show files of the server.
const FILES: [&str; 4] =
    ["pg_file_settings", "pg_hba_file_rules", "pg_ident_file_mappings", "pg_config"];

/// A relation that a name may stand for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its name, as far as it could be resolved.
    pub(crate) name: ObjectName,
    /// What the catalog knows of it.
    pub(crate) relation: Option<Arc<Relation>>,
}

impl Target {
    /// The kind of object that it is.
    pub(crate) fn kind(&self) -> ObjectKind {
        match self.relation.as_ref().map(|r| r.kind) {
            None | Some(RelationKind::Table | RelationKind::Foreign) => ObjectKind::Table,
            Some(RelationKind::View | RelationKind::MaterializedView) => ObjectKind::View,
            Some(RelationKind::Sequence) => ObjectKind::Sequence,
        }
    }

    /// Whether it belongs to the server's own catalog.
    pub(crate) fn is_system(&self) -> bool {
        matches!(self.name.schema.as_deref(), Some("pg_catalog" | "information_schema"))
    }
}

/// One statement's analysis.
pub(crate) struct Analyzer<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) names: &'a dyn Names,
    /// Statements prepared, and cursors declared, earlier in the same text.
    pub(crate) local: &'a Local,
    pub(crate) draft: Draft,
    /// The setting that `… FROM pg_settings WHERE name = 'x'` is about.
    pub(crate) setting: Option<String>,
    /// A name was looked for that the catalog does not have.
    pub(crate) missing: Cell<bool>,
    /// It is the body of a function or a block, where a name that is no column's may be a variable's.
    pub(crate) body: bool,
    /// Code given as text that is around this.
    pub(crate) code_depth: usize,
    /// Routines that are called.
    pub(crate) called: BTreeSet<RoutineId>,
    /// Something is computed, so that casts may happen that nobody wrote.
    pub(crate) computed: bool,
    /// A function was called that may return rows.
    pub(crate) makes_rows: bool,
    budget: u32,
    /// The queries that were looked at.
    pub(crate) queries: Queries,
    views: HashMap<u32, Rc<Columns>>,
    open_views: HashSet<u32>,
    view_tables: HashMap<u32, Vec<Arc<Relation>>>,
}

/// What earlier statements of the same text named.
#[derive(Debug, Default)]
pub(crate) struct Local {
    pub(crate) prepared: Vec<(Arc<str>, Arc<Statement>)>,
    pub(crate) cursors: Vec<(Arc<str>, Arc<Statement>)>,
    /// One of them changed definitions.
    pub(crate) defined: bool,
}

impl<'a> Analyzer<'a> {
    pub(crate) fn new(catalog: &'a Catalog, names: &'a dyn Names, local: &'a Local) -> Self {
        Self {
            catalog,
            names,
            local,
            draft: Draft::new(),
            setting: None,
            missing: Cell::new(false),
            body: false,
            code_depth: 0,
            called: BTreeSet::new(),
            computed: false,
            makes_rows: false,
            budget: BUDGET,
            queries: Queries::new(),
            views: HashMap::new(),
            open_views: HashSet::new(),
            view_tables: HashMap::new(),
        }
    }

    /// Takes from the budget. When it is used up the statement is in doubt and nothing more is read.
    pub(crate) fn spend(&mut self, units: usize) -> bool {
        self.budget = self.budget.saturating_sub(u32::try_from(units).unwrap_or(u32::MAX));
        if self.budget == 0 {
            self.draft.doubt("too much to look at");
        }
        self.budget > 0
    }

    /// Whether it is a view's definition that is being looked at.
    pub(crate) fn in_view(&self) -> bool {
        !self.open_views.is_empty()
    }

    /// Every relation that a name may stand for; never none.
    ///
    /// An unqualified name stands for every relation of that name in any schema, so that no
    /// `search_path` can change what guard sees.
    pub(crate) fn targets(&self, schema: &str, name: &str) -> Vec<Target> {
        let known = self.catalog.relations_named(name).iter();
        let mut found: Vec<Target> = known
            .filter(|r| schema.is_empty() || r.name.schema.as_deref() == Some(schema))
            .map(|r| Target { name: r.name.clone(), relation: Some(r.clone()) })
            .collect();
        let unknown = if !schema.is_empty() && schema != "pg_temp" {
            found.is_empty().then(|| ObjectName::qualified(schema, name))
        } else if name.starts_with("pg_toast_") {
            // The storage behind tables, where `search_path` names its schema.
            Some(ObjectName::qualified("pg_toast", name))
        } else if name.starts_with("pg_") && !found.iter().any(Target::is_system) {
            Some(ObjectName::qualified("pg_catalog", name))
        } else {
            found.is_empty().then(|| ObjectName::bare(name))
        };
        if unknown.is_some() {
            self.missing.set(true);
        }
        found.extend(unknown.map(|name| Target { name, relation: None }));
        found
    }

    /// The same for a `RangeVar`.
    pub(crate) fn range_targets(&self, var: &pg::RangeVar) -> Vec<Target> {
        self.targets(&var.schemaname, &var.relname)
    }

    /// An effect on each relation that a name may stand for.
    pub(crate) fn on_range(&mut self, verb: Verb, var: &pg::RangeVar) {
        for target in self.range_targets(var) {
            self.draft.on(verb, target.kind(), target.name);
        }
    }

    /// The name that a new object gets.
    pub(crate) fn new_name(var: Option<&pg::RangeVar>) -> ObjectName {
        match var {
            Some(var) if !var.schemaname.is_empty() && var.schemaname != "pg_temp" => {
                ObjectName::qualified(&var.schemaname, &var.relname)
            }
            Some(var) => ObjectName::bare(&var.relname),
            None => ObjectName::bare("?"),
        }
    }

    /// Reads a relation: the effects of that, and its columns.
    pub(crate) fn read(&mut self, var: &pg::RangeVar) -> Columns {
        let mut all: Option<Columns> = None;
        for target in self.range_targets(var) {
            let columns = self.read_target(&target);
            all = Some(match all {
                None => columns,
                Some(held) => either(held, columns),
            });
        }
        all.unwrap_or_else(|| Columns::unknown("a name that stands for nothing"))
    }

    /// Reads one relation.
    pub(crate) fn read_target(&mut self, target: &Target) -> Columns {
        self.draft.on(Verb::Read, target.kind(), target.name.clone());
        if target.is_system() && FILES.contains(&&*target.name.name) {
            self.draft.on(Verb::File, ObjectKind::View, target.name.clone());
        }
        if let Some(relation) = &target.relation {
            self.reaches_out(relation);
            self.happens(relation.oid, Events::READ);
            for child in self.catalog.descendants(relation) {
                self.draft.on(Verb::Read, ObjectKind::Table, child.name.clone());
                self.reaches_out(&child);
            }
        }
        self.columns_of(target)
    }

    /// A foreign table's rows are elsewhere: the server opens a connection to them.
    pub(crate) fn reaches_out(&mut self, relation: &Relation) {
        if relation.kind == RelationKind::Foreign {
            self.draft.on(Verb::Network, ObjectKind::Table, relation.name.clone());
        }
    }

    /// A value was looked at.
    pub(crate) fn looked_at(&mut self, value: &Value) {
        if let Some(column) = value.reveals() {
            let name = ObjectName {
                schema: column.table.schema.clone(),
                name: format!("{}.{}", column.table.name, column.column).into(),
            };
            self.draft.on(Verb::Role, ObjectKind::Column, name);
        }
    }

    /// The columns of a relation and the base columns that they come from.
    pub(crate) fn columns_of(&mut self, target: &Target) -> Columns {
        let Some(relation) = target.relation.clone() else {
            let origin = Origin { whole: [target.name.clone()].into(), ..Origin::default() };
            let rest = Rest::Relation(target.name.clone());
            let open = Columns { list: Vec::new(), rest, origin };
            return hide_revealing(&target.name, open);
        };
        self.spend(relation.columns.len());
        let is_view = matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView);
        if is_view && !target.is_system() {
            return (*self.view(&relation)).clone();
        }
        let mut family = self.catalog.ancestors(&relation);
        family.extend(self.catalog.descendants(&relation));
        let column = |name: &Arc<str>| {
            let mut value =
                Value::plain(ColumnName { table: relation.name.clone(), column: name.clone() });
            for other in &family {
                if other.columns.iter().any(|c| c.name == *name) {
                    value.absorb(&Value::plain(ColumnName {
                        table: other.name.clone(),
                        column: name.clone(),
                    }));
                }
            }
            value
        };
        let list = relation.columns.iter().map(|c| (c.name.clone(), column(&c.name))).collect();
        let mut columns = Columns::closed(list);
        columns.origin.table = relation.kind == RelationKind::Table;
        columns.origin.whole.insert(relation.name.clone());
        columns.origin.whole.extend(family.iter().map(|other| other.name.clone()));
        hide_revealing(&relation.name, columns)
    }

    /// A view's columns, by way of its definition, whose effects count as well.
    fn view(&mut self, view: &Arc<Relation>) -> Rc<Columns> {
        if let Some(done) = self.views.get(&view.oid) {
            return done.clone();
        }
        let names: Vec<Arc<str>> = view.columns.iter().map(|c| c.name.clone()).collect();
        let columns = match &view.definition {
            Some(definition)
                if self.open_views.len() < MAX_VIEWS && self.open_views.insert(view.oid) =>
            {
                let columns = self.definition(view, definition);
                self.open_views.remove(&view.oid);
                columns
            }
            Some(_) | None => {
                // It may have been locked when the catalog was read.
                if view.definition.is_none() {
                    self.missing.set(true);
                }
                self.draft.doubt("a view whose definition is not known or too deep");
                Columns::unknown("a view whose definition is not known")
            }
        };
        let columns = Rc::new(columns.renamed(&names));
        self.views.insert(view.oid, columns.clone());
        columns
    }

    fn definition(&mut self, view: &Arc<Relation>, definition: &str) -> Columns {
        let tree = crate::parse::parse(definition);
        let select =
            tree.as_ref().ok().and_then(|tree| tree.stmts.first()).and_then(|raw| {
                match raw.stmt.as_deref().and_then(|node| node.node.as_ref()) {
                    Some(NodeEnum::SelectStmt(select)) => Some(select),
                    Some(_) | None => None,
                }
            });
        let Some(select) = select else {
            self.draft.doubt("a view whose definition is not understood");
            return Columns::unknown("a view whose definition is not understood");
        };
        let mut tables = Vec::new();
        for item in &select.from_clause {
            self.relations_in(item, &mut tables);
        }
        self.view_tables.insert(view.oid, tables);
        self.select(select, &crate::value::Scope::default())
    }

    /// The relations in a FROM item itself, not in its sub-queries.
    fn relations_in(&self, item: &pg::Node, found: &mut Vec<Arc<Relation>>) {
        match item.node.as_ref() {
            Some(NodeEnum::RangeVar(var)) => {
                found.extend(self.range_targets(var).into_iter().filter_map(|t| t.relation));
            }
            Some(NodeEnum::JoinExpr(join)) => {
                for side in [&join.larg, &join.rarg].into_iter().flatten() {
                    self.relations_in(side, found);
                }
            }
            Some(_) | None => {}
        }
    }

    /// Every relation that a write to one reaches: itself, those below it, and those behind a view.
    pub(crate) fn written(&mut self, target: &Target) -> Vec<Target> {
        let mut all = vec![target.clone()];
        let mut next = 0;
        while let Some(relation) = all.get(next).map(|t| t.relation.clone()) {
            next += 1;
            let Some(relation) = relation else { continue };
            let mut reached = self.catalog.descendants(&relation);
            if relation.kind == RelationKind::View && self.open_views.is_empty() {
                self.view(&relation);
                reached.extend(self.view_tables.get(&relation.oid).into_iter().flatten().cloned());
            }
            for one in reached {
                if !all.iter().any(|held| held.name == one.name) {
                    all.push(Target { name: one.name.clone(), relation: Some(one) });
                }
            }
        }
        all
    }
}

/// The columns of a thing that is one or the other: by name either's, by position where both have
/// as many.
fn either(mut held: Columns, other: Columns) -> Columns {
    if held.list.len() == other.list.len() && held.rest == other.rest {
        let same_names = held.list.iter().zip(&other.list).all(|(a, b)| a.0 == b.0);
        held.unite(&other);
        if same_names {
            return held;
        }
    }
    held.origin.absorb(&other.origin);
    let mut whole = held.whole();
    whole.absorb(&other.whole());
    whole.absorb(&Value::unknown("a name that stands for several relations"));
    for (name, value) in other.list {
        match held.list.iter_mut().find(|(held, _)| *held == name) {
            Some((_, held)) => held.absorb(&value),
            None => held.list.push((name, value)),
        }
    }
    held.rest = match (held.rest, other.rest) {
        (Rest::Relation(table), _) | (_, Rest::Relation(table)) if held.list.is_empty() => {
            Rest::Relation(table)
        }
        _ => Rest::Each(whole),
    };
    held
}

/// Makes columns that show other people's values unknown, and marks those that hold credentials.
fn hide_revealing(name: &ObjectName, mut columns: Columns) -> Columns {
    if let Some((_, column)) = CREDENTIALS.iter().find(|(table, _)| *table == &*name.name) {
        let value = Value::credential(ColumnName { table: name.clone(), column: (*column).into() });
        match columns.list.iter_mut().find(|(held, _)| &**held == *column) {
            Some((_, held)) => *held = value,
            None => columns.list.push(((*column).into(), value)),
        }
    }
    let Some((table, hidden)) = REVEALING.iter().find(|(table, _)| *table == &*name.name) else {
        return columns;
    };
    let why = format!("`{table}` holds other values");
    for column in *hidden {
        match columns.list.iter_mut().find(|(held, _)| &**held == *column) {
            Some((_, value)) => *value = Value::unknown(&why),
            None => columns.list.push(((*column).into(), Value::unknown(&why))),
        }
    }
    columns
}

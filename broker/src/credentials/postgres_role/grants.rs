//! What a role is given: the policy's needs, laid over what there is. A pure function of the two.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use guard_core::{ColumnName, ObjectKind, Verb};
use guard_policy::Privileges;

use super::{
    catalog::{Catalog, Relation, RelationKind},
    names::{ident, qualified},
};

/// Names in one statement.
const CHUNK: usize = 200;
/// Names that a warning shows.
const SHOWN: usize = 5;

/// What is to be done for a role, and what has to be true then.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) statements: Vec<String>,
    /// What the role must not be able to read: a column, or nothing of a relation.
    pub(super) withheld: Vec<(i64, Option<String>)>,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
}

/// A privilege on tables and views: its letter, its name, and what asks for it.
const ON_TABLES: [(char, &str, &[Verb]); 6] = [
    // PostgreSQL wants SELECT for what stands in the WHERE of an UPDATE or a DELETE.
    ('r', "SELECT", &[Verb::Read, Verb::Update, Verb::Delete]),
    ('a', "INSERT", &[Verb::Insert]),
    ('w', "UPDATE", &[Verb::Update]),
    ('d', "DELETE", &[Verb::Delete]),
    ('D', "TRUNCATE", &[Verb::Truncate]),
    ('m', "MAINTAIN", &[Verb::Maintain]),
];
const ON_SEQUENCES: [(char, &str, &[Verb]); 2] =
    [('r', "SELECT", &[Verb::Read]), ('w', "UPDATE", &[Verb::Update])];

/// What to do for a role, which is named as it stands in statements.
pub(super) fn wanted(
    catalog: &Catalog,
    needs: Privileges<'_>,
    role: &str,
    database: &str,
) -> Wanted {
    let mut wanted = Wanted::default();
    let hidden = Hidden::of(catalog, needs);
    wanted.withheld = hidden.list(catalog);
    wanted.statements.push(format!("GRANT CONNECT ON DATABASE {} TO {role}", ident(database)));
    let mut schemas = BTreeSet::new();
    let mut on_tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut on_sequences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut lacking: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut filled = HashSet::new();
    for relation in &catalog.relations {
        let (privileges, all) = match relation.kind {
            RelationKind::Table => (&ON_TABLES[..], ObjectKind::Table),
            RelationKind::View => (&ON_TABLES[..], ObjectKind::View),
            RelationKind::Sequence => (&ON_SEQUENCES[..], ObjectKind::Sequence),
        };
        let mut given = Vec::new();
        for (letter, privilege, verbs) in privileges {
            if !verbs.iter().any(|verb| needs.may(*verb, all, &relation.name)) {
                continue;
            }
            if *letter == 'r' && hidden.relations.contains(&relation.oid) {
                continue;
            }
            if !relation.grantable.contains(*letter) {
                // Before version 17 nothing grants it, and nobody misses it.
                if *letter != 'm' {
                    lacking.entry(privilege).or_default().push(relation.name.to_string());
                }
                continue;
            }
            if *letter == 'a' {
                filled.insert(relation.oid);
            }
            match hidden.columns.get(&relation.oid).filter(|_| *letter == 'r') {
                Some(columns) => given.extend(open_columns(catalog, relation, columns)),
                None => given.push((*privilege).to_owned()),
            }
        }
        if given.is_empty() {
            continue;
        }
        let Some(schema) = relation.name.schema.as_deref() else { continue };
        schemas.insert(schema.to_owned());
        let place = match relation.kind {
            RelationKind::Table | RelationKind::View => &mut on_tables,
            RelationKind::Sequence => &mut on_sequences,
        };
        let name = qualified(schema, &relation.name.name);
        place.entry(given.join(", ")).or_default().push(name);
    }
    for (table, sequence) in &catalog.defaults {
        let Some(found) = catalog.relations.iter().find(|one| one.oid == *sequence) else {
            continue;
        };
        let Some(schema) = found.name.schema.as_deref().filter(|_| filled.contains(table)) else {
            continue;
        };
        if found.grantable.contains('U') {
            schemas.insert(schema.to_owned());
            let name = qualified(schema, &found.name.name);
            on_sequences.entry("USAGE".into()).or_default().push(name);
        } else {
            lacking.entry("USAGE").or_default().push(found.name.to_string());
        }
    }
    let mut routines = Vec::new();
    for routine in catalog.routines.iter().filter(|one| needs.names_function(&one.name)) {
        if routine.grantable {
            schemas.extend(routine.name.schema.as_deref().map(str::to_owned));
            routines.push(routine.signature.clone());
        } else {
            lacking.entry("EXECUTE").or_default().push(routine.name.to_string());
        }
    }
    for schema in &catalog.schemas {
        let creates = needs.may_create_in(&schema.name);
        for (letter, privilege, asked) in
            [('U', "USAGE", creates || schemas.contains(&schema.name)), ('C', "CREATE", creates)]
        {
            if !asked {
                continue;
            }
            if schema.grantable.contains(letter) {
                let name = ident(&schema.name);
                wanted.statements.push(format!("GRANT {privilege} ON SCHEMA {name} TO {role}"));
            } else {
                lacking.entry(privilege).or_default().push(schema.name.clone());
            }
        }
    }
    for (what, groups) in [("TABLE", on_tables), ("SEQUENCE", on_sequences)] {
        for (privileges, names) in groups {
            wanted.grant(&privileges, what, &names, role);
        }
    }
    wanted.grant("EXECUTE", "ROUTINE", &routines, role);
    for (privilege, names) in lacking {
        let shown: Vec<_> = names.iter().take(SHOWN).map(String::as_str).collect();
        let more = if names.len() > SHOWN { ", …" } else { "" };
        wanted.warnings.push(format!(
            "the admin may not grant {privilege} on {} of what the policy allows: {}{more}",
            names.len(),
            shown.join(", ")
        ));
    }
    wanted
}

impl Wanted {
    fn grant(&mut self, privileges: &str, what: &str, names: &[String], role: &str) {
        for names in names.chunks(CHUNK) {
            let names = names.join(", ");
            self.statements.push(format!("GRANT {privileges} ON {what} {names} TO {role}"));
        }
    }
}

/// SELECT on the columns that are not withheld. None, if all are.
fn open_columns(
    catalog: &Catalog,
    relation: &Relation,
    withheld: &BTreeSet<String>,
) -> Option<String> {
    let open: Vec<_> = catalog
        .columns
        .iter()
        .filter(|column| column.relation == relation.oid && !withheld.contains(&column.name))
        .map(|column| ident(&column.name))
        .collect();
    (!open.is_empty()).then(|| format!("SELECT ({})", open.join(", ")))
}

/// What the server is to refuse.
#[derive(Debug, Default)]
struct Hidden {
    /// Columns of relations.
    columns: HashMap<i64, BTreeSet<String>>,
    /// Views that show such a column, under whatever name.
    relations: HashSet<i64>,
}

impl Hidden {
    fn of(catalog: &Catalog, needs: Privileges<'_>) -> Self {
        let mut hidden = Self::default();
        if !needs.withholds_any() {
            return hidden;
        }
        let names: HashMap<i64, &Relation> =
            catalog.relations.iter().map(|relation| (relation.oid, relation)).collect();
        for column in &catalog.columns {
            let Some(relation) = names.get(&column.relation) else { continue };
            let name =
                ColumnName { table: relation.name.clone(), column: column.name.as_str().into() };
            if needs.withholds(&name) {
                hidden.columns.entry(column.relation).or_default().insert(column.name.clone());
            }
        }
        // A partition's rows are its parent's.
        let mut grew = true;
        while grew {
            grew = false;
            for (child, parent) in &catalog.inherits {
                let Some(of_parent) = hidden.columns.get(parent).cloned() else { continue };
                let of_child = hidden.columns.entry(*child).or_default();
                let before = of_child.len();
                of_child.extend(of_parent);
                grew |= of_child.len() > before;
            }
        }
        let mut grew = true;
        while grew {
            grew = false;
            for view in &catalog.views {
                if hidden.is_shown_by(view, catalog) {
                    grew |= hidden.relations.insert(view.view);
                }
            }
        }
        hidden
    }

    fn is_shown_by(&self, view: &super::catalog::ViewUse, catalog: &Catalog) -> bool {
        if self.relations.contains(&view.relation) {
            return true;
        }
        let Some(columns) = self.columns.get(&view.relation) else { return false };
        view.whole_rows
            || catalog.columns.iter().any(|column| {
                column.relation == view.relation
                    && column.number == view.column
                    && columns.contains(&column.name)
            })
    }

    /// What has to be checked when the role is there.
    fn list(&self, catalog: &Catalog) -> Vec<(i64, Option<String>)> {
        let known: HashSet<(i64, &str)> =
            catalog.columns.iter().map(|one| (one.relation, one.name.as_str())).collect();
        let columns = self.columns.iter().flat_map(|(relation, names)| {
            names.iter().map(move |name| (*relation, Some(name.clone())))
        });
        // A column that a child was given and that was renamed there is none.
        let columns = columns.filter(|(relation, name)| {
            name.as_deref().is_some_and(|name| known.contains(&(*relation, name)))
        });
        columns.chain(self.relations.iter().map(|relation| (*relation, None))).collect()
    }
}

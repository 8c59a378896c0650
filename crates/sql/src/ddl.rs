//! Definitions: what CREATE, ALTER, DROP and their kin do to which objects.

use std::sync::Arc;

use guard_core::{ObjectKind, ObjectName, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    RelationKind,
    analyzer::Analyzer,
    nodes::{object_name, string, strings},
    value::{Columns, Scope, Value},
};

/// The kind of object of a grammar's object type.
pub(crate) fn kind(of: pg::ObjectType) -> ObjectKind {
    use pg::ObjectType as T;
    match of {
        T::ObjectTable | T::ObjectForeignTable => ObjectKind::Table,
        T::ObjectView | T::ObjectMatview => ObjectKind::View,
        T::ObjectColumn | T::ObjectAttribute | T::ObjectDefault => ObjectKind::Column,
        T::ObjectIndex => ObjectKind::Index,
        T::ObjectSequence => ObjectKind::Sequence,
        T::ObjectAggregate
        | T::ObjectFunction
        | T::ObjectProcedure
        | T::ObjectRoutine
        | T::ObjectOperator
        | T::ObjectAmproc
        | T::ObjectAmop
        | T::ObjectCast => ObjectKind::Function,
        T::ObjectSchema => ObjectKind::Schema,
        T::ObjectDatabase => ObjectKind::Database,
        T::ObjectRole => ObjectKind::Role,
        T::ObjectParameterAcl => ObjectKind::Setting,
        T::ObjectExtension => ObjectKind::Extension,
        T::ObjectTrigger | T::ObjectRule | T::ObjectEventTrigger | T::ObjectPolicy => {
            ObjectKind::Trigger
        }
        T::ObjectType | T::ObjectDomain => ObjectKind::Type,
        T::ObjectLargeobject => ObjectKind::LargeObject,
        T::Undefined
        | T::ObjectAccessMethod
        | T::ObjectCollation
        | T::ObjectConversion
        | T::ObjectDefacl
        | T::ObjectDomconstraint
        | T::ObjectFdw
        | T::ObjectForeignServer
        | T::ObjectLanguage
        | T::ObjectOpclass
        | T::ObjectOpfamily
        | T::ObjectPublication
        | T::ObjectPublicationNamespace
        | T::ObjectPublicationRel
        | T::ObjectSubscription
        | T::ObjectStatisticExt
        | T::ObjectTabconstraint
        | T::ObjectTablespace
        | T::ObjectTransform
        | T::ObjectTsconfiguration
        | T::ObjectTsdictionary
        | T::ObjectTsparser
        | T::ObjectTstemplate
        | T::ObjectUserMapping => ObjectKind::Other,
    }
}

impl Analyzer<'_> {
    /// An effect on an object named by a grammar's node, whatever its shape.
    pub(crate) fn on_object(&mut self, verb: Verb, of: pg::ObjectType, node: Option<&pg::Node>) {
        use pg::ObjectType as T;
        let kind = kind(of);
        let parts: &[pg::Node] = match node.and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::List(list)) => &list.items,
            Some(NodeEnum::TypeName(name)) => &name.names,
            Some(NodeEnum::ObjectWithArgs(object)) => &object.objname,
            Some(NodeEnum::RangeVar(var)) => {
                self.on_range(verb, var);
                return;
            }
            Some(NodeEnum::String(_)) => node.map_or(&[], std::slice::from_ref),
            Some(_) | None => {
                self.draft.at(verb, kind);
                return;
            }
        };
        let names = strings(parts);
        match (of, names.as_slice()) {
            (
                T::ObjectTable
                | T::ObjectForeignTable
                | T::ObjectView
                | T::ObjectMatview
                | T::ObjectSequence,
                [.., name],
            ) => {
                let schema = names.iter().rev().nth(1).copied().unwrap_or_default();
                for target in self.targets(schema, name) {
                    self.draft.on(verb, kind, target.name);
                }
            }
            // The last part is the thing on a table, those before it the table.
            (
                T::ObjectTrigger
                | T::ObjectRule
                | T::ObjectPolicy
                | T::ObjectTabconstraint
                | T::ObjectColumn,
                [table @ .., name],
            ) => {
                let (schema, table) = match table {
                    [.., schema, table] => (*schema, *table),
                    [table] => ("", *table),
                    [] => ("", ""),
                };
                if table.is_empty() {
                    self.bare(verb, kind, name);
                    return;
                }
                for target in self.targets(schema, table) {
                    let part = ObjectName {
                        schema: target.name.schema.clone(),
                        name: format!("{}.{name}", target.name.name).into(),
                    };
                    self.draft.on(verb, kind, part);
                    if of != T::ObjectColumn {
                        self.draft.on(Verb::Alter, target.kind(), target.name);
                    }
                }
            }
            (T::ObjectPublication | T::ObjectSubscription, _) => {
                self.draft.on(verb, kind, object_name(parts));
                self.draft.on(Verb::Replication, kind, object_name(parts));
            }
            _ => self.draft.on(verb, kind, object_name(parts)),
        }
    }

    /// CREATE TABLE and FOREIGN TABLE.
    pub(crate) fn create_table(&mut self, create: &pg::CreateStmt) {
        let name = Self::new_name(create.relation.as_ref());
        self.draft.on(Verb::Create, ObjectKind::Table, name);
        let mut scope = Scope::default();
        scope.add("", std::rc::Rc::new(Columns::each(Value::none())));
        self.definitions(&create.table_elts, &scope);
        self.definitions(&create.constraints, &scope);
        if let Some(spec) = &create.partspec {
            self.look(&spec.part_params, &scope);
        }
        if let Some(bound) = &create.partbound {
            self.look(&bound.listdatums, &scope);
        }
    }

    /// Columns and constraints: the expressions in them run later, with every write.
    pub(crate) fn definitions(&mut self, nodes: &[pg::Node], scope: &Scope<'_>) {
        for node in nodes {
            match &node.node {
                Some(NodeEnum::ColumnDef(column)) => {
                    self.look(column.raw_default.as_deref(), scope);
                    self.definitions(&column.constraints, scope);
                    if let Some(of) = &column.type_name
                        && !matches!(
                            of.names.last().and_then(string),
                            Some(
                                "serial"
                                    | "bigserial"
                                    | "smallserial"
                                    | "serial4"
                                    | "serial8"
                                    | "serial2"
                            )
                        )
                    {
                        self.cast(of);
                    }
                }
                Some(NodeEnum::Constraint(constraint))
                    if constraint.contype() == pg::ConstrType::ConstrGenerated =>
                {
                    // The column keeps it under its own name, of the rows that are there, too.
                    let value = self.optional(constraint.raw_expr.as_deref(), scope);
                    self.draft.store(&value);
                }
                Some(NodeEnum::Constraint(constraint)) => {
                    let both = constraint.raw_expr.as_deref().into_iter();
                    self.look(both.chain(constraint.where_clause.as_deref()), scope);
                    for pair in &constraint.exclusions {
                        if let Some(NodeEnum::List(pair)) = &pair.node {
                            self.look(pair.items.first(), scope);
                        }
                    }
                }
                Some(_) | None => {}
            }
        }
    }

    /// ALTER TABLE, INDEX, VIEW, SEQUENCE, TYPE.
    pub(crate) fn alter_table(&mut self, alter: &pg::AlterTableStmt) {
        let Some(var) = &alter.relation else { return };
        let targets = self.range_targets(var);
        let kind = kind(alter.objtype());
        let mut scope = Scope::default();
        for target in &targets {
            let columns = self.columns_of(target);
            scope.add(&var.relname, std::rc::Rc::new(columns));
        }
        for command in &alter.cmds {
            let Some(NodeEnum::AlterTableCmd(command)) = &command.node else { continue };
            if let Some(def) = command.def.as_deref() {
                self.definitions(std::slice::from_ref(def), &scope);
            }
            for target in &targets {
                self.alter_command(command, kind, &target.name);
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all else changes what is there")]
    fn alter_command(&mut self, command: &pg::AlterTableCmd, kind: ObjectKind, table: &ObjectName) {
        use pg::AlterTableType as T;
        let column = |name: &str| ObjectName {
            schema: table.schema.clone(),
            name: format!("{}.{name}", table.name).into(),
        };
        match command.subtype() {
            T::AtAddColumn | T::AtAddColumnToView => {
                let name = match command.def.as_deref().and_then(|def| def.node.as_ref()) {
                    Some(NodeEnum::ColumnDef(def)) => def.colname.as_str(),
                    Some(_) | None => "?",
                };
                self.draft.on(Verb::Create, ObjectKind::Column, column(name));
            }
            T::AtDropColumn => {
                self.draft.on(Verb::Drop, ObjectKind::Column, column(&command.name));
            }
            T::AtChangeOwner => self.draft.on(Verb::Role, kind, table.clone()),
            T::AtEnableRowSecurity
            | T::AtDisableRowSecurity
            | T::AtForceRowSecurity
            | T::AtNoForceRowSecurity => {
                self.draft.on(Verb::Alter, kind, table.clone());
                self.draft.on(Verb::Grant, kind, table.clone());
            }
            T::AtAddInherit | T::AtAttachPartition | T::AtDetachPartition | T::AtDropInherit => {
                self.draft.on(Verb::Alter, kind, table.clone());
                match command.def.as_deref().and_then(|def| def.node.as_ref()) {
                    Some(NodeEnum::RangeVar(var)) => self.on_range(Verb::Alter, var),
                    Some(NodeEnum::PartitionCmd(part)) => {
                        if let Some(var) = &part.name {
                            self.on_range(Verb::Alter, var);
                        }
                    }
                    Some(_) | None => {}
                }
            }
            _ => self.draft.on(Verb::Alter, kind, table.clone()),
        }
    }

    /// CREATE INDEX.
    pub(crate) fn create_index(&mut self, index: &pg::IndexStmt) {
        let Some(var) = &index.relation else { return };
        let targets = self.range_targets(var);
        let mut scope = Scope::default();
        for target in &targets {
            let columns = self.columns_of(target);
            scope.add(&var.relname, std::rc::Rc::new(columns));
            let name = if index.idxname.is_empty() {
                format!("{}_idx", target.name.name)
            } else {
                index.idxname.clone()
            };
            let name = ObjectName { schema: target.name.schema.clone(), name: name.into() };
            self.draft.on(Verb::Create, ObjectKind::Index, name);
        }
        let parts = index.index_params.iter().chain(&index.index_including_params);
        self.look(parts.chain(index.where_clause.as_deref()), &scope);
    }

    /// CREATE STATISTICS: ANALYZE computes its expressions.
    pub(crate) fn statistics(&mut self, statistics: &pg::CreateStatsStmt) {
        let mut scope = Scope::default();
        for item in &statistics.relations {
            self.row_source(item, &mut scope);
        }
        for item in &statistics.exprs {
            if let Some(NodeEnum::StatsElem(element)) = &item.node {
                self.look(element.expr.as_deref(), &scope);
            }
        }
    }

    /// CREATE VIEW. It copies nothing, but gives values a new name, which counts as keeping them.
    pub(crate) fn create_view(&mut self, view: &pg::ViewStmt) {
        self.draft.on(Verb::Create, ObjectKind::View, Self::new_name(view.view.as_ref()));
        if let Some(var) = view.view.as_ref().filter(|_| view.replace) {
            self.replaced_view(var);
        }
        if let Some(NodeEnum::SelectStmt(select)) =
            view.query.as_deref().and_then(|query| query.node.as_ref())
        {
            let columns = self.select(select, &Scope::default());
            self.draft.store(&columns.whole());
        }
    }

    /// A materialized view keeps the rows that it was filled with, whatever becomes of the views it was made
    /// from: of those rows nobody knew any more which columns they are of.
    fn replaced_view(&mut self, var: &pg::RangeVar) {
        for target in self.range_targets(var) {
            let Some(relation) = &target.relation else { continue };
            if relation.kind == RelationKind::View && self.is_kept(&relation.name.name) {
                let columns = self.columns_of(&target);
                self.draft.store(&columns.whole());
            }
        }
    }

    /// Whether a materialized view may be made of this view, or of views that are.
    fn is_kept(&self, view: &Arc<str>) -> bool {
        let mut names = vec![view.clone()];
        let mut next = 0;
        while let Some(name) = names.get(next).cloned() {
            next += 1;
            // A name in quotes of its own has them doubled.
            let written = name.replace('"', "\"\"");
            let above = self.catalog.relations().filter(|relation| {
                match (&relation.definition, relation.kind) {
                    (Some(text), _) => text.contains(&written),
                    // It was locked when the catalog was read.
                    (None, RelationKind::MaterializedView) => true,
                    (
                        None,
                        RelationKind::View
                        | RelationKind::Table
                        | RelationKind::Foreign
                        | RelationKind::Sequence,
                    ) => false,
                }
            });
            for relation in above {
                match relation.kind {
                    RelationKind::MaterializedView => return true,
                    RelationKind::View if !names.contains(&relation.name.name) => {
                        names.push(relation.name.name.clone());
                    }
                    RelationKind::View
                    | RelationKind::Table
                    | RelationKind::Foreign
                    | RelationKind::Sequence => {}
                }
            }
        }
        false
    }

    /// GRANT and REVOKE.
    pub(crate) fn grant(&mut self, grant: &pg::GrantStmt) {
        if grant.targtype() != pg::GrantTargetType::AclTargetObject || grant.objects.is_empty() {
            let kind = match grant.targtype() {
                pg::GrantTargetType::AclTargetAllInSchema => ObjectKind::Schema,
                pg::GrantTargetType::AclTargetObject
                | pg::GrantTargetType::AclTargetDefaults
                | pg::GrantTargetType::Undefined => kind(grant.objtype()),
            };
            self.draft.at(Verb::Grant, kind);
            return;
        }
        for object in &grant.objects {
            self.on_object(Verb::Grant, grant.objtype(), Some(object));
        }
    }
}

//! Statements that define tables, schemas, types, extensions and their kin.

use guard_core::{ObjectKind, ObjectName, Outputs, Verb};
use pg_query::{NodeEnum as N, protobuf as pg};

use super::NO_STATEMENT;
use crate::{
    analyzer::Analyzer,
    nodes::object_name,
    value::{Columns, Scope, Value},
};

/// What an item of an operator class is (`OPCLASS_ITEM_…` in parsenodes.h).
const OPCLASS_OPERATOR: i32 = 1;
const OPCLASS_FUNCTION: i32 = 2;
const OPCLASS_STORAGE: i32 = 3;

impl Analyzer<'_> {
    /// Reads one of them and gives its command tag; `None` for any other statement.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds of statements are listed in full where this is called"
    )]
    pub(super) fn define(&mut self, node: &N) -> Option<&'static str> {
        let scope = Scope::default();
        Some(match node {
            // Tables and their kin.
            N::CreateStmt(s) => {
                self.create_table(s);
                "CREATE TABLE"
            }
            N::CreateForeignTableStmt(s) => {
                if let Some(base) = &s.base_stmt {
                    self.create_table(base);
                }
                self.draft.at(Verb::Network, ObjectKind::Other);
                "CREATE FOREIGN TABLE"
            }
            N::CreateTableAsStmt(s) => {
                let into = s.into.as_deref();
                let name = Self::new_name(into.and_then(|into| into.rel.as_ref()));
                let is_view = s.objtype() == pg::ObjectType::ObjectMatview;
                let kind = if is_view { ObjectKind::View } else { ObjectKind::Table };
                self.draft.on(Verb::Create, kind, name);
                match s.query.as_deref().and_then(|query| query.node.as_ref()) {
                    Some(N::SelectStmt(select)) => {
                        let columns = self.select(select, &scope);
                        self.draft.store(&columns.whole());
                    }
                    Some(other) => {
                        drop(self.statement(other));
                        let outputs = std::mem::replace(&mut self.draft.outputs, Outputs::None);
                        match outputs {
                            Outputs::Columns(columns) => self.draft.stores.extend(
                                columns.into_iter().flat_map(|c| c.sources).map(|s| s.column),
                            ),
                            Outputs::None => {}
                            Outputs::Unknown(why) => self.draft.doubt(&why),
                        }
                    }
                    None => self.draft.doubt(NO_STATEMENT),
                }
                if is_view { "CREATE MATERIALIZED VIEW" } else { "CREATE TABLE AS" }
            }
            N::ViewStmt(s) => {
                self.create_view(s);
                "CREATE VIEW"
            }
            N::AlterTableStmt(s) => {
                self.alter_table(s);
                "ALTER TABLE"
            }
            N::AlterTableMoveAllStmt(_) => self.other(Verb::Alter, "ALTER TABLE"),
            N::IndexStmt(s) => {
                self.create_index(s);
                "CREATE INDEX"
            }
            N::CreateSeqStmt(s) => {
                let name = Self::new_name(s.sequence.as_ref());
                self.draft.on(Verb::Create, ObjectKind::Sequence, name);
                "CREATE SEQUENCE"
            }
            N::AlterSeqStmt(s) => {
                self.range(Verb::Alter, s.sequence.as_ref());
                "ALTER SEQUENCE"
            }
            N::CreateStatsStmt(s) => {
                self.statistics(s);
                self.draft.on(Verb::Create, ObjectKind::Other, object_name(&s.defnames));
                "CREATE STATISTICS"
            }
            N::AlterStatsStmt(s) => {
                self.draft.on(Verb::Alter, ObjectKind::Other, object_name(&s.defnames));
                "ALTER STATISTICS"
            }
            N::TruncateStmt(s) => {
                for node in &s.relations {
                    if let Some(N::RangeVar(var)) = &node.node {
                        let cascades = s.behavior() == pg::DropBehavior::DropCascade;
                        self.truncate(var, cascades);
                    }
                }
                "TRUNCATE TABLE"
            }
            N::DropStmt(s) => {
                for object in &s.objects {
                    self.on_object(Verb::Drop, s.remove_type(), Some(object));
                }
                "DROP"
            }
            N::RenameStmt(s) => {
                match (&s.relation, s.rename_type()) {
                    (_, pg::ObjectType::ObjectRole) => {
                        self.bare(Verb::Role, ObjectKind::Role, &s.subname);
                    }
                    (Some(var), _) => self.on_range(Verb::Alter, var),
                    (None, of) => self.on_object(Verb::Alter, of, s.object.as_deref()),
                }
                "ALTER"
            }
            N::AlterObjectSchemaStmt(s) => {
                match &s.relation {
                    Some(var) => self.on_range(Verb::Alter, var),
                    None => self.on_object(Verb::Alter, s.object_type(), s.object.as_deref()),
                }
                "ALTER"
            }
            N::AlterOwnerStmt(s) => {
                match &s.relation {
                    Some(var) => self.on_range(Verb::Role, var),
                    None => self.on_object(Verb::Role, s.object_type(), s.object.as_deref()),
                }
                "ALTER"
            }
            N::CommentStmt(s) => {
                self.on_object(Verb::Alter, s.objtype(), s.object.as_deref());
                "COMMENT"
            }
            N::SecLabelStmt(s) => {
                self.on_object(Verb::Grant, s.objtype(), s.object.as_deref());
                "SECURITY LABEL"
            }

            // Schemas, types, extensions and other definitions.
            N::CreateSchemaStmt(s) => {
                let role = s.authrole.as_ref().map(|role| role.rolename.as_str());
                let name = if s.schemaname.is_empty() { role } else { Some(s.schemaname.as_str()) };
                self.bare(Verb::Create, ObjectKind::Schema, name.unwrap_or("?"));
                if role.is_some() {
                    self.bare(Verb::Role, ObjectKind::Schema, name.unwrap_or("?"));
                }
                for element in s.schema_elts.iter().filter_map(|node| node.node.as_ref()) {
                    if self.statement(element).is_none() {
                        self.draft.doubt(NO_STATEMENT);
                    }
                }
                "CREATE SCHEMA"
            }
            N::CompositeTypeStmt(s) => {
                let name = Self::new_name(s.typevar.as_ref());
                self.draft.on(Verb::Create, ObjectKind::Type, name);
                "CREATE TYPE"
            }
            N::CreateEnumStmt(s) => {
                self.object(Verb::Create, ObjectKind::Type, &s.type_name, "CREATE TYPE")
            }
            N::CreateRangeStmt(s) => {
                self.ranges_by(&s.params);
                self.object(Verb::Create, ObjectKind::Type, &s.type_name, "CREATE TYPE")
            }
            N::AlterEnumStmt(s) => {
                self.object(Verb::Alter, ObjectKind::Type, &s.type_name, "ALTER TYPE")
            }
            N::AlterTypeStmt(s) => {
                self.object(Verb::Alter, ObjectKind::Type, &s.type_name, "ALTER TYPE")
            }
            N::CreateDomainStmt(s) => {
                let mut inner = Scope::default();
                inner.add("", std::rc::Rc::new(Columns::each(Value::none())));
                self.definitions(&s.constraints, &inner);
                self.object(Verb::Create, ObjectKind::Type, &s.domainname, "CREATE DOMAIN")
            }
            N::AlterDomainStmt(s) => {
                if let Some(def) = s.def.as_deref() {
                    let mut inner = Scope::default();
                    inner.add("", std::rc::Rc::new(Columns::each(Value::none())));
                    self.definitions(std::slice::from_ref(def), &inner);
                }
                self.object(Verb::Alter, ObjectKind::Type, &s.type_name, "ALTER DOMAIN")
            }
            N::DefineStmt(s) => {
                let kind = crate::ddl::kind(s.kind());
                let runs_code = kind == ObjectKind::Function
                    || (kind == ObjectKind::Type && !s.definition.is_empty());
                if runs_code {
                    self.draft.on(Verb::Code, kind, object_name(&s.defnames));
                }
                self.object(Verb::Create, kind, &s.defnames, "CREATE")
            }
            N::CreateExtensionStmt(s) => {
                self.bare(Verb::Code, ObjectKind::Extension, &s.extname);
                self.named(Verb::Create, ObjectKind::Extension, &s.extname, "CREATE EXTENSION")
            }
            N::AlterExtensionStmt(s) => {
                self.bare(Verb::Code, ObjectKind::Extension, &s.extname);
                self.named(Verb::Alter, ObjectKind::Extension, &s.extname, "ALTER EXTENSION")
            }
            N::AlterExtensionContentsStmt(s) => {
                self.bare(Verb::Code, ObjectKind::Extension, &s.extname);
                self.named(Verb::Alter, ObjectKind::Extension, &s.extname, "ALTER EXTENSION")
            }
            N::AlterObjectDependsStmt(s) => {
                match &s.relation {
                    Some(var) => self.on_range(Verb::Alter, var),
                    None => self.on_object(Verb::Alter, s.object_type(), s.object.as_deref()),
                }
                "ALTER"
            }
            N::CreateOpClassStmt(s) => {
                self.compares_by(&s.items);
                let name = &s.opclassname;
                self.object(Verb::Create, ObjectKind::Other, name, "CREATE OPERATOR CLASS")
            }
            N::CreateOpFamilyStmt(s) => self.object(
                Verb::Create,
                ObjectKind::Other,
                &s.opfamilyname,
                "CREATE OPERATOR FAMILY",
            ),
            N::AlterOpFamilyStmt(s) => {
                if !s.is_drop {
                    self.compares_by(&s.items);
                }
                let name = &s.opfamilyname;
                self.object(Verb::Alter, ObjectKind::Other, name, "ALTER OPERATOR FAMILY")
            }
            N::AlterOperatorStmt(s) => {
                let name = s.opername.as_ref().map_or(&[][..], |name| &name.objname);
                self.object(Verb::Alter, ObjectKind::Function, name, "ALTER OPERATOR")
            }
            N::CreateConversionStmt(s) => {
                self.draft.on(Verb::Config, ObjectKind::Other, object_name(&s.conversion_name));
                self.object(
                    Verb::Create,
                    ObjectKind::Other,
                    &s.conversion_name,
                    "CREATE CONVERSION",
                )
            }
            N::CreateCastStmt(s) => {
                self.code_of(s.func.as_ref());
                self.other(Verb::Create, "CREATE CAST")
            }
            N::CreateTransformStmt(s) => {
                self.code_of(s.fromsql.as_ref());
                self.other(Verb::Create, "CREATE TRANSFORM")
            }
            N::CreateAmStmt(s) => {
                self.draft.on(Verb::Code, ObjectKind::Function, object_name(&s.handler_name));
                self.other(Verb::Create, "CREATE ACCESS METHOD")
            }
            N::AlterCollationStmt(_) => self.other(Verb::Alter, "ALTER COLLATION"),
            N::AlterTsdictionaryStmt(s) => self.object(
                Verb::Alter,
                ObjectKind::Other,
                &s.dictname,
                "ALTER TEXT SEARCH DICTIONARY",
            ),
            N::AlterTsconfigurationStmt(s) => self.object(
                Verb::Alter,
                ObjectKind::Other,
                &s.cfgname,
                "ALTER TEXT SEARCH CONFIGURATION",
            ),
            _ => return None,
        })
    }

    /// Functions and operators of a class: indexes, sorts and groups compare by them from now on.
    fn compares_by(&mut self, items: &[pg::Node]) {
        for item in items {
            let Some(N::CreateOpClassItem(item)) = &item.node else { continue };
            let name = item.name.as_ref().map_or(&[][..], |name| &name.objname);
            match item.itemtype {
                OPCLASS_OPERATOR => self.operator(name),
                OPCLASS_FUNCTION => self.hangs_on(name),
                OPCLASS_STORAGE => {}
                _ => self.draft.doubt("an item of an operator class that guard does not know"),
            }
        }
    }

    /// The functions of a type of ranges, which its values run when they are made and indexed.
    fn ranges_by(&mut self, options: &[pg::Node]) {
        for option in options {
            let Some(N::DefElem(option)) = &option.node else { continue };
            let value = option.arg.as_deref().and_then(|arg| arg.node.as_ref());
            if let ("canonical" | "subtype_diff", Some(N::TypeName(name))) =
                (option.defname.as_str(), value)
            {
                self.hangs_on(&name.names);
            }
        }
    }

    fn code_of(&mut self, function: Option<&pg::ObjectWithArgs>) {
        match function {
            Some(function) => self.hangs_on(&function.objname),
            None => self.draft.on(Verb::Call, ObjectKind::Function, ObjectName::bare("?")),
        }
    }
}

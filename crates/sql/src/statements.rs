//! One arm for each statement kind of the grammar. A kind that nobody thought of does not compile.

mod administration;
mod definitions;

use std::sync::Arc;

use guard_core::{ObjectKind, Outputs, Verb};
use pg_query::{NodeEnum as N, protobuf as pg};

use crate::{
    Statement, StatementRole,
    analyzer::Analyzer,
    nodes::{constant, object_name, string},
    value::{Columns, Scope},
};

/// What a statement is besides its effects.
pub(crate) struct Reading {
    /// The command's tag.
    pub(crate) label: &'static str,
    /// What it is to the wire protocol.
    pub(crate) role: StatementRole,
}

/// Why a node at a statement's place cannot be read.
pub(crate) const NO_STATEMENT: &str = "not a statement";

impl Analyzer<'_> {
    /// Reads one statement; `None` if the node is none.
    pub(crate) fn statement(&mut self, node: &N) -> Option<Reading> {
        let scope = Scope::default();
        let mut role = StatementRole::Plain;
        let label = match node {
            N::SelectStmt(s) => {
                let columns = self.select(s, &scope);
                if s.into_clause.is_none() {
                    self.draft.outputs = columns.outputs();
                }
                "SELECT"
            }
            N::InsertStmt(s) => {
                let columns = self.insert(s, &scope);
                self.returned(&columns);
                "INSERT"
            }
            N::UpdateStmt(s) => {
                let columns = self.update(s, &scope);
                self.returned(&columns);
                "UPDATE"
            }
            N::DeleteStmt(s) => {
                let columns = self.delete(s, &scope);
                self.returned(&columns);
                "DELETE"
            }
            N::MergeStmt(s) => {
                let columns = self.merge(s, &scope);
                self.returned(&columns);
                "MERGE"
            }
            N::CopyStmt(s) => {
                role = self.copy(s);
                "COPY"
            }

            // Session.
            N::VariableSetStmt(s) => {
                self.set_variable(s);
                match s.kind() {
                    pg::VariableSetKind::VarReset | pg::VariableSetKind::VarResetAll => "RESET",
                    pg::VariableSetKind::VarSetValue
                    | pg::VariableSetKind::VarSetDefault
                    | pg::VariableSetKind::VarSetCurrent
                    | pg::VariableSetKind::VarSetMulti
                    | pg::VariableSetKind::Undefined => "SET",
                }
            }
            N::VariableShowStmt(s) => {
                self.bare(Verb::Session, ObjectKind::Setting, &s.name);
                let columns = if s.name == "all" { 3 } else { 1 };
                self.draft.outputs = empty_columns(columns);
                "SHOW"
            }
            N::TransactionStmt(s) => self.transaction(s),
            N::ConstraintsSetStmt(_) => {
                self.draft.at(Verb::Session, ObjectKind::Other);
                "SET CONSTRAINTS"
            }
            N::DiscardStmt(s) => {
                self.draft.at(Verb::Session, ObjectKind::Other);
                if s.target() == pg::DiscardMode::DiscardAll {
                    role = StatementRole::DiscardAll;
                }
                "DISCARD"
            }
            N::PrepareStmt(s) => {
                self.draft.at(Verb::Session, ObjectKind::Other);
                if let Some(inner) = self.inner(s.query.as_deref()) {
                    role = StatementRole::Prepare { name: s.name.as_str().into(), inner };
                }
                "PREPARE"
            }
            N::ExecuteStmt(s) => {
                self.look(&s.params, &scope);
                let mut found = self.names.prepared(&s.name);
                let local = self.local.prepared.iter().filter(|(name, _)| **name == *s.name);
                found.extend(local.map(|(_, statement)| statement.clone()));
                self.draft.outputs = self.stand_in("prepared statement", &s.name, &found);
                "EXECUTE"
            }
            N::DeallocateStmt(s) => {
                self.draft.at(Verb::Session, ObjectKind::Other);
                let name = (!s.isall).then(|| s.name.as_str().into());
                role = StatementRole::Deallocate(name);
                "DEALLOCATE"
            }
            N::DeclareCursorStmt(s) => {
                self.draft.at(Verb::Session, ObjectKind::Other);
                if let Some(inner) = self.inner(s.query.as_deref()) {
                    self.draft.take(&inner.operation);
                    self.draft.follows |= inner.follows;
                    role = StatementRole::Declare { name: s.portalname.as_str().into(), inner };
                }
                "DECLARE CURSOR"
            }
            N::FetchStmt(s) => {
                self.draft.at(Verb::Session, ObjectKind::Other);
                let mut found = self.names.cursor(&s.portalname);
                let local = self.local.cursors.iter().filter(|(name, _)| **name == *s.portalname);
                found.extend(local.map(|(_, statement)| statement.clone()));
                let outputs = self.stand_in("cursor", &s.portalname, &found);
                role = StatementRole::Fetch(s.portalname.as_str().into());
                if s.ismove {
                    "MOVE"
                } else {
                    self.draft.outputs = outputs;
                    "FETCH"
                }
            }
            N::ClosePortalStmt(s) => {
                self.draft.at(Verb::Session, ObjectKind::Other);
                let name = (!s.portalname.is_empty()).then(|| s.portalname.as_str().into());
                role = StatementRole::Close(name);
                "CLOSE CURSOR"
            }
            N::ListenStmt(s) => {
                self.bare(Verb::Notify, ObjectKind::Channel, &s.conditionname);
                "LISTEN"
            }
            N::UnlistenStmt(s) => {
                self.bare(Verb::Notify, ObjectKind::Channel, &s.conditionname);
                "UNLISTEN"
            }
            N::NotifyStmt(s) => {
                self.bare(Verb::Notify, ObjectKind::Channel, &s.conditionname);
                "NOTIFY"
            }
            N::LockStmt(s) => {
                self.ranges(Verb::Lock, &s.relations);
                "LOCK TABLE"
            }
            N::ExplainStmt(s) => {
                let inner = s.query.as_deref().and_then(|query| query.node.as_ref());
                match inner {
                    Some(inner) => drop(self.statement(inner)),
                    None => self.draft.doubt(NO_STATEMENT),
                }
                let executes = s.options.iter().any(|option| match &option.node {
                    Some(N::DefElem(option)) => option.defname == "analyze" && is_on(option),
                    Some(_) | None => false,
                });
                if executes {
                    self.draft.uncounted |= self.draft.changes_rows();
                } else {
                    self.only_reads();
                    self.draft.uncounted = false;
                }
                self.draft.outputs = empty_columns(1);
                "EXPLAIN"
            }

            // Code.
            N::DoStmt(s) => {
                self.draft.at(Verb::Code, ObjectKind::Other);
                self.do_block(s);
                "DO"
            }
            N::CallStmt(s) => {
                if let Some(call) = &s.funccall {
                    let node = pg::Node { node: Some(N::FuncCall(call.clone())) };
                    let value = self.value(&node, &scope);
                    self.draft.outputs = Columns::each(value).outputs();
                }
                "CALL"
            }
            N::LoadStmt(_) => {
                self.draft.at(Verb::Code, ObjectKind::Other);
                self.draft.at(Verb::File, ObjectKind::Other);
                "LOAD"
            }

            // Tables, schemas, types, extensions: what is defined.
            N::CreateStmt(_)
            | N::CreateForeignTableStmt(_)
            | N::CreateTableAsStmt(_)
            | N::ViewStmt(_)
            | N::AlterTableStmt(_)
            | N::AlterTableMoveAllStmt(_)
            | N::IndexStmt(_)
            | N::CreateSeqStmt(_)
            | N::AlterSeqStmt(_)
            | N::CreateStatsStmt(_)
            | N::AlterStatsStmt(_)
            | N::TruncateStmt(_)
            | N::DropStmt(_)
            | N::RenameStmt(_)
            | N::AlterObjectSchemaStmt(_)
            | N::AlterOwnerStmt(_)
            | N::CommentStmt(_)
            | N::SecLabelStmt(_)
            | N::CreateSchemaStmt(_)
            | N::CompositeTypeStmt(_)
            | N::CreateEnumStmt(_)
            | N::CreateRangeStmt(_)
            | N::AlterEnumStmt(_)
            | N::AlterTypeStmt(_)
            | N::CreateDomainStmt(_)
            | N::AlterDomainStmt(_)
            | N::DefineStmt(_)
            | N::CreateExtensionStmt(_)
            | N::AlterExtensionStmt(_)
            | N::AlterExtensionContentsStmt(_)
            | N::AlterObjectDependsStmt(_)
            | N::CreateOpClassStmt(_)
            | N::CreateOpFamilyStmt(_)
            | N::AlterOpFamilyStmt(_)
            | N::AlterOperatorStmt(_)
            | N::CreateConversionStmt(_)
            | N::CreateCastStmt(_)
            | N::CreateTransformStmt(_)
            | N::CreateAmStmt(_)
            | N::AlterCollationStmt(_)
            | N::AlterTsdictionaryStmt(_)
            | N::AlterTsconfigurationStmt(_) => self.define(node)?,

            // Functions, triggers, rules, policies.
            N::CreateFunctionStmt(s) => {
                self.function_settings(&s.options);
                self.draft.on(Verb::Code, ObjectKind::Function, object_name(&s.funcname));
                let verb = if s.replace { Verb::Alter } else { Verb::Create };
                self.draft.on(verb, ObjectKind::Function, object_name(&s.funcname));
                self.object(Verb::Create, ObjectKind::Function, &s.funcname, "CREATE FUNCTION")
            }
            N::AlterFunctionStmt(s) => {
                self.function_settings(&s.actions);
                let name = s.func.as_ref().map_or(&[][..], |name| &name.objname);
                self.object(Verb::Alter, ObjectKind::Function, name, "ALTER FUNCTION")
            }
            N::CreateTrigStmt(s) => {
                self.hangs_on(&s.funcname);
                self.named(Verb::Create, ObjectKind::Trigger, &s.trigname, "CREATE TRIGGER")
            }
            N::CreateEventTrigStmt(s) => {
                self.hangs_on(&s.funcname);
                self.draft.at(Verb::Config, ObjectKind::Trigger);
                self.named(Verb::Create, ObjectKind::Trigger, &s.trigname, "CREATE EVENT TRIGGER")
            }
            N::AlterEventTrigStmt(s) => {
                self.draft.at(Verb::Config, ObjectKind::Trigger);
                self.named(Verb::Alter, ObjectKind::Trigger, &s.trigname, "ALTER EVENT TRIGGER")
            }
            N::RuleStmt(s) => {
                self.range(Verb::Alter, s.relation.as_ref());
                self.bare(Verb::Code, ObjectKind::Trigger, &s.rulename);
                self.rule(s);
                self.named(Verb::Create, ObjectKind::Trigger, &s.rulename, "CREATE RULE")
            }
            N::CreatePolicyStmt(s) => {
                self.range(Verb::Grant, s.table.as_ref());
                self.row_policy([s.qual.as_deref(), s.with_check.as_deref()]);
                self.named(Verb::Create, ObjectKind::Trigger, &s.policy_name, "CREATE POLICY")
            }
            N::AlterPolicyStmt(s) => {
                self.range(Verb::Grant, s.table.as_ref());
                self.row_policy([s.qual.as_deref(), s.with_check.as_deref()]);
                self.named(Verb::Alter, ObjectKind::Trigger, &s.policy_name, "ALTER POLICY")
            }
            N::CreatePlangStmt(s) => {
                self.bare(Verb::Code, ObjectKind::Other, &s.plname);
                self.named(Verb::Create, ObjectKind::Other, &s.plname, "CREATE LANGUAGE")
            }

            // Privileges, roles, the server, its upkeep and replication: what is administered.
            N::GrantStmt(_)
            | N::AlterDefaultPrivilegesStmt(_)
            | N::GrantRoleStmt(_)
            | N::CreateRoleStmt(_)
            | N::AlterRoleStmt(_)
            | N::AlterRoleSetStmt(_)
            | N::DropRoleStmt(_)
            | N::DropOwnedStmt(_)
            | N::ReassignOwnedStmt(_)
            | N::CreatedbStmt(_)
            | N::AlterDatabaseStmt(_)
            | N::AlterDatabaseRefreshCollStmt(_)
            | N::AlterDatabaseSetStmt(_)
            | N::DropdbStmt(_)
            | N::AlterSystemStmt(_)
            | N::CreateTableSpaceStmt(_)
            | N::AlterTableSpaceOptionsStmt(_)
            | N::DropTableSpaceStmt(_)
            | N::CreateFdwStmt(_)
            | N::AlterFdwStmt(_)
            | N::CreateForeignServerStmt(_)
            | N::AlterForeignServerStmt(_)
            | N::CreateUserMappingStmt(_)
            | N::AlterUserMappingStmt(_)
            | N::DropUserMappingStmt(_)
            | N::ImportForeignSchemaStmt(_)
            | N::CheckPointStmt(_)
            | N::VacuumStmt(_)
            | N::ClusterStmt(_)
            | N::ReindexStmt(_)
            | N::RefreshMatViewStmt(_)
            | N::CreatePublicationStmt(_)
            | N::AlterPublicationStmt(_)
            | N::CreateSubscriptionStmt(_)
            | N::AlterSubscriptionStmt(_)
            | N::DropSubscriptionStmt(_) => self.administer(node)?,

            // Parts of statements, and what only the planner makes: never a statement by themselves.
            N::Alias(_)
            | N::RangeVar(_)
            | N::TableFunc(_)
            | N::IntoClause(_)
            | N::Var(_)
            | N::Param(_)
            | N::Aggref(_)
            | N::GroupingFunc(_)
            | N::WindowFunc(_)
            | N::WindowFuncRunCondition(_)
            | N::MergeSupportFunc(_)
            | N::SubscriptingRef(_)
            | N::FuncExpr(_)
            | N::NamedArgExpr(_)
            | N::OpExpr(_)
            | N::DistinctExpr(_)
            | N::NullIfExpr(_)
            | N::ScalarArrayOpExpr(_)
            | N::BoolExpr(_)
            | N::SubLink(_)
            | N::SubPlan(_)
            | N::AlternativeSubPlan(_)
            | N::FieldSelect(_)
            | N::FieldStore(_)
            | N::RelabelType(_)
            | N::CoerceViaIo(_)
            | N::ArrayCoerceExpr(_)
            | N::ConvertRowtypeExpr(_)
            | N::CollateExpr(_)
            | N::CaseExpr(_)
            | N::CaseWhen(_)
            | N::CaseTestExpr(_)
            | N::ArrayExpr(_)
            | N::RowExpr(_)
            | N::RowCompareExpr(_)
            | N::CoalesceExpr(_)
            | N::MinMaxExpr(_)
            | N::SqlvalueFunction(_)
            | N::XmlExpr(_)
            | N::JsonFormat(_)
            | N::JsonReturning(_)
            | N::JsonValueExpr(_)
            | N::JsonConstructorExpr(_)
            | N::JsonIsPredicate(_)
            | N::JsonBehavior(_)
            | N::JsonExpr(_)
            | N::JsonTablePath(_)
            | N::JsonTablePathScan(_)
            | N::JsonTableSiblingJoin(_)
            | N::NullTest(_)
            | N::BooleanTest(_)
            | N::MergeAction(_)
            | N::CoerceToDomain(_)
            | N::CoerceToDomainValue(_)
            | N::SetToDefault(_)
            | N::CurrentOfExpr(_)
            | N::NextValueExpr(_)
            | N::InferenceElem(_)
            | N::ReturningExpr(_)
            | N::TargetEntry(_)
            | N::RangeTblRef(_)
            | N::JoinExpr(_)
            | N::FromExpr(_)
            | N::OnConflictExpr(_)
            | N::Query(_)
            | N::TypeName(_)
            | N::ColumnRef(_)
            | N::ParamRef(_)
            | N::AExpr(_)
            | N::TypeCast(_)
            | N::CollateClause(_)
            | N::RoleSpec(_)
            | N::FuncCall(_)
            | N::AStar(_)
            | N::AIndices(_)
            | N::AIndirection(_)
            | N::AArrayExpr(_)
            | N::ResTarget(_)
            | N::MultiAssignRef(_)
            | N::SortBy(_)
            | N::WindowDef(_)
            | N::RangeSubselect(_)
            | N::RangeFunction(_)
            | N::RangeTableFunc(_)
            | N::RangeTableFuncCol(_)
            | N::RangeTableSample(_)
            | N::ColumnDef(_)
            | N::TableLikeClause(_)
            | N::IndexElem(_)
            | N::DefElem(_)
            | N::LockingClause(_)
            | N::XmlSerialize(_)
            | N::PartitionElem(_)
            | N::PartitionSpec(_)
            | N::PartitionBoundSpec(_)
            | N::PartitionRangeDatum(_)
            | N::PartitionCmd(_)
            | N::RangeTblEntry(_)
            | N::RtepermissionInfo(_)
            | N::RangeTblFunction(_)
            | N::TableSampleClause(_)
            | N::WithCheckOption(_)
            | N::SortGroupClause(_)
            | N::GroupingSet(_)
            | N::WindowClause(_)
            | N::RowMarkClause(_)
            | N::WithClause(_)
            | N::InferClause(_)
            | N::OnConflictClause(_)
            | N::CtesearchClause(_)
            | N::CtecycleClause(_)
            | N::CommonTableExpr(_)
            | N::MergeWhenClause(_)
            | N::ReturningOption(_)
            | N::ReturningClause(_)
            | N::TriggerTransition(_)
            | N::JsonOutput(_)
            | N::JsonArgument(_)
            | N::JsonFuncExpr(_)
            | N::JsonTablePathSpec(_)
            | N::JsonTable(_)
            | N::JsonTableColumn(_)
            | N::JsonKeyValue(_)
            | N::JsonParseExpr(_)
            | N::JsonScalarExpr(_)
            | N::JsonSerializeExpr(_)
            | N::JsonObjectConstructor(_)
            | N::JsonArrayConstructor(_)
            | N::JsonArrayQueryConstructor(_)
            | N::JsonAggConstructor(_)
            | N::JsonObjectAgg(_)
            | N::JsonArrayAgg(_)
            | N::RawStmt(_)
            | N::SetOperationStmt(_)
            | N::ReturnStmt(_)
            | N::PlassignStmt(_)
            | N::AlterTableCmd(_)
            | N::AtalterConstraint(_)
            | N::ReplicaIdentityStmt(_)
            | N::ObjectWithArgs(_)
            | N::AccessPriv(_)
            | N::Constraint(_)
            | N::CreateOpClassItem(_)
            | N::StatsElem(_)
            | N::FunctionParameter(_)
            | N::InlineCodeBlock(_)
            | N::CallContext(_)
            | N::VacuumRelation(_)
            | N::PublicationTable(_)
            | N::PublicationObjSpec(_)
            | N::Integer(_)
            | N::Float(_)
            | N::Boolean(_)
            | N::String(_)
            | N::BitString(_)
            | N::List(_)
            | N::IntList(_)
            | N::OidList(_)
            | N::AConst(_) => return None,
        };
        Some(Reading { label, role })
    }

    fn returned(&mut self, columns: &Columns) {
        if *columns != Columns::closed(Vec::new()) {
            self.draft.outputs = columns.outputs();
        }
    }

    /// The statement inside PREPARE or DECLARE.
    fn inner(&mut self, node: Option<&pg::Node>) -> Option<Arc<Statement>> {
        let inner = node.and_then(|node| node.node.as_ref());
        let statement = inner.and_then(|inner| {
            let mut analyzer = Analyzer::new(self.catalog, self.names, self.local);
            analyzer.body = self.body;
            let reading = analyzer.statement(inner)?;
            analyzer.close();
            if analyzer.missing.get() {
                self.missing.set(true);
            }
            Some(Arc::new(crate::finish(analyzer.draft, reading, "", guard_core::Digest::ZERO)))
        });
        if statement.is_none() {
            self.draft.doubt(NO_STATEMENT);
        }
        statement
    }

    /// What planning does of what executing would do: it reads, and computes constant calls.
    fn only_reads(&mut self) {
        for effect in &mut self.draft.effects {
            if matches!(effect.verb, Verb::Insert | Verb::Update | Verb::Delete | Verb::Create) {
                effect.verb = Verb::Read;
                effect.bounded = guard_core::Bounded::NotApplicable;
            }
        }
        self.draft.stores.clear();
    }

    fn range(&mut self, verb: Verb, var: Option<&pg::RangeVar>) {
        match var {
            Some(var) => self.on_range(verb, var),
            None => self.draft.at(verb, ObjectKind::Table),
        }
    }

    fn ranges(&mut self, verb: Verb, nodes: &[pg::Node]) {
        for node in nodes {
            match &node.node {
                Some(N::RangeVar(var)) => self.on_range(verb, var),
                Some(_) | None => self.draft.at(verb, ObjectKind::Table),
            }
        }
    }

    fn other(&mut self, verb: Verb, label: &'static str) -> &'static str {
        self.draft.at(verb, ObjectKind::Other);
        label
    }

    fn named(
        &mut self,
        verb: Verb,
        kind: ObjectKind,
        name: &str,
        label: &'static str,
    ) -> &'static str {
        self.bare(verb, kind, name);
        label
    }

    fn object(
        &mut self,
        verb: Verb,
        kind: ObjectKind,
        name: &[pg::Node],
        label: &'static str,
    ) -> &'static str {
        self.draft.on(verb, kind, object_name(name));
        label
    }
}

/// Result columns that hold no values of a table.
fn empty_columns(count: usize) -> Outputs {
    Outputs::Columns(vec![guard_core::Output::default(); count])
}

/// Whether an option is turned on: by its name alone, or by a word that means yes.
fn is_on(option: &pg::DefElem) -> bool {
    let word =
        option.arg.as_deref().and_then(|arg| constant(arg).or_else(|| string(arg).map(Into::into)));
    !word.is_some_and(|word| matches!(word.to_ascii_lowercase().as_str(), "off" | "false" | "0"))
}

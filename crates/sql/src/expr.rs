//! Expressions: where a value comes from, and what computing it does on the way.

use guard_core::{ObjectKind, ObjectName, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    analyzer::Analyzer,
    functions::{self, Class},
    nodes::{constant, dotted, is_name, is_null, string, strings},
    value::{Scope, Value},
};

/// Columns that every table has and that hold no values of its rows.
const SYSTEM_COLUMNS: [&str; 7] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid"];

impl Analyzer<'_> {
    /// The union of what several expressions come from, computed.
    fn derived<'n>(
        &mut self,
        nodes: impl IntoIterator<Item = &'n pg::Node>,
        scope: &Scope<'_>,
    ) -> Value {
        let mut all = Value::none();
        for node in nodes {
            all.absorb(&self.value(node, scope));
        }
        all.derived()
    }

    /// Where an expression's value comes from.
    pub(crate) fn value(&mut self, node: &pg::Node, scope: &Scope<'_>) -> Value {
        let value = self.origins(node, scope);
        // What a view gives was chosen by who made it.
        if is_null(node) || self.in_view() { value } else { value.given() }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is no expression is doubt")]
    fn origins(&mut self, node: &pg::Node, scope: &Scope<'_>) -> Value {
        let Some(node) = &node.node else { return Value::none() };
        if !self.spend(1) {
            return Value::unknown("too much to look at");
        }
        match node {
            NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::CurrentOfExpr(_)
            | NodeEnum::MergeSupportFunc(_)
            | NodeEnum::String(_)
            | NodeEnum::Integer(_)
            | NodeEnum::Float(_)
            | NodeEnum::Boolean(_)
            | NodeEnum::BitString(_)
            | NodeEnum::AStar(_)
            | NodeEnum::TypeName(_) => Value::none(),
            NodeEnum::ColumnRef(column) => {
                self.computed = true;
                let value = self.column(&column.fields, scope);
                self.looked_at(&value);
                value
            }
            NodeEnum::ResTarget(target) => self.optional(target.val.as_deref(), scope),
            NodeEnum::AExpr(e) => {
                self.computed = true;
                self.operator(&e.name);
                self.derived(e.lexpr.as_deref().into_iter().chain(e.rexpr.as_deref()), scope)
            }
            NodeEnum::BoolExpr(e) => self.derived(&e.args, scope),
            NodeEnum::NullTest(e) => {
                self.look(e.arg.as_deref(), scope);
                Value::none()
            }
            NodeEnum::GroupingFunc(e) => {
                self.look(&e.args, scope);
                Value::none()
            }
            NodeEnum::BooleanTest(e) => self.derived(e.arg.as_deref(), scope),
            NodeEnum::TypeCast(e) => {
                let value = self.optional(e.arg.as_deref(), scope);
                match &e.type_name {
                    Some(to) if self.cast(to) => value,
                    Some(_) | None => value.derived(),
                }
            }
            NodeEnum::CollateClause(e) => self.optional(e.arg.as_deref(), scope),
            NodeEnum::NamedArgExpr(e) => self.optional(e.arg.as_deref(), scope),
            NodeEnum::MultiAssignRef(e) => self.optional(e.source.as_deref(), scope).derived(),
            NodeEnum::FuncCall(call) => self.call(call, scope),
            NodeEnum::SubLink(link) => self.sub_link(link, scope),
            NodeEnum::CaseExpr(e) => {
                let mut all = self.derived(e.arg.as_deref(), scope).deciding();
                self.tested(&all);
                let mut result = Value::none();
                for when in &e.args {
                    if let Some(NodeEnum::CaseWhen(when)) = &when.node {
                        let condition = self.derived(when.expr.as_deref(), scope);
                        self.tested(&condition);
                        all.absorb(&condition.deciding());
                        result.or(&self.optional(when.result.as_deref(), scope));
                    }
                }
                result.or(&self.optional(e.defresult.as_deref(), scope));
                result.absorb(&all);
                result
            }
            NodeEnum::CoalesceExpr(e) => {
                let mut all = Value::none();
                for arg in &e.args {
                    all.or(&self.value(arg, scope));
                }
                all
            }
            NodeEnum::MinMaxExpr(e) => self.derived(&e.args, scope),
            NodeEnum::RowExpr(e) => self.derived(&e.args, scope),
            NodeEnum::AArrayExpr(e) => self.derived(&e.elements, scope),
            NodeEnum::List(list) => self.derived(&list.items, scope),
            NodeEnum::AIndirection(e) => {
                if let Some(name) = e.indirection.iter().rev().find_map(string) {
                    self.attribute(name);
                }
                self.derived(e.arg.as_deref().into_iter().chain(&e.indirection), scope)
            }
            NodeEnum::AIndices(e) => {
                self.derived(e.lidx.as_deref().into_iter().chain(e.uidx.as_deref()), scope)
            }
            NodeEnum::SortBy(e) => {
                self.operator(&e.use_op);
                self.optional(e.node.as_deref(), scope)
            }
            NodeEnum::WindowDef(window) => {
                self.window(window, scope);
                Value::none()
            }
            NodeEnum::GroupingSet(set) => {
                self.look(&set.content, scope);
                Value::none()
            }
            NodeEnum::IndexElem(e) => {
                self.conflict(&e.name, scope);
                self.optional(e.expr.as_deref(), scope)
            }
            NodeEnum::PartitionElem(e) => self.optional(e.expr.as_deref(), scope),
            NodeEnum::XmlExpr(e) => self.derived(e.named_args.iter().chain(&e.args), scope),
            NodeEnum::XmlSerialize(e) => self.derived(e.expr.as_deref(), scope),
            NodeEnum::JsonIsPredicate(e) => self.derived(e.expr.as_deref(), scope),
            NodeEnum::JsonValueExpr(e) => self.json(e, scope),
            NodeEnum::JsonKeyValue(e) => {
                let mut all = self.derived(e.key.as_deref(), scope);
                all.absorb(&self.json_optional(e.value.as_deref(), scope));
                all
            }
            NodeEnum::JsonArgument(e) => self.json_optional(e.val.as_deref(), scope),
            NodeEnum::JsonFuncExpr(e) => {
                let mut all = self.json_optional(e.context_item.as_deref(), scope);
                all.absorb(
                    &self.derived(e.pathspec.as_deref().into_iter().chain(&e.passing), scope),
                );
                for behavior in [&e.on_empty, &e.on_error].into_iter().flatten() {
                    all.absorb(&self.derived(behavior.expr.as_deref(), scope));
                }
                all
            }
            NodeEnum::JsonParseExpr(e) => self.json_optional(e.expr.as_deref(), scope),
            NodeEnum::JsonScalarExpr(e) => self.derived(e.expr.as_deref(), scope),
            NodeEnum::JsonSerializeExpr(e) => self.json_optional(e.expr.as_deref(), scope),
            NodeEnum::JsonObjectConstructor(e) => self.derived(&e.exprs, scope),
            NodeEnum::JsonArrayConstructor(e) => self.derived(&e.exprs, scope),
            NodeEnum::JsonArrayQueryConstructor(e) => self.derived(e.query.as_deref(), scope),
            NodeEnum::JsonObjectAgg(e) => {
                let mut all = self.json_aggregate(e.constructor.as_deref(), scope);
                if let Some(pair) = e.arg.as_deref() {
                    all.absorb(&self.derived(pair.key.as_deref(), scope));
                    all.absorb(&self.json_optional(pair.value.as_deref(), scope));
                }
                all
            }
            NodeEnum::JsonArrayAgg(e) => {
                let mut all = self.json_aggregate(e.constructor.as_deref(), scope);
                all.absorb(&self.json_optional(e.arg.as_deref(), scope));
                all
            }
            NodeEnum::SelectStmt(select) => self.select(select, scope).whole(),
            _ => {
                self.draft.doubt("an expression of a kind that guard does not know");
                Value::unknown("an expression of a kind that guard does not know")
            }
        }
    }

    /// The value of an expression that may be left out.
    pub(crate) fn optional(&mut self, node: Option<&pg::Node>, scope: &Scope<'_>) -> Value {
        node.map_or_else(Value::none, |node| self.value(node, scope))
    }

    fn json_optional(&mut self, e: Option<&pg::JsonValueExpr>, scope: &Scope<'_>) -> Value {
        e.map_or_else(Value::none, |e| self.json(e, scope))
    }

    /// A JSON input: its raw form is what the client wrote.
    pub(crate) fn json(&mut self, e: &pg::JsonValueExpr, scope: &Scope<'_>) -> Value {
        let both = e.raw_expr.as_deref().into_iter().chain(e.formatted_expr.as_deref());
        self.derived(both, scope)
    }

    fn json_aggregate(&mut self, e: Option<&pg::JsonAggConstructor>, scope: &Scope<'_>) -> Value {
        if let Some(e) = e {
            self.look(e.agg_filter.as_deref().into_iter().chain(&e.agg_order), scope);
            if let Some(window) = e.over.as_deref() {
                self.window(window, scope);
            }
        }
        Value::none()
    }

    fn window(&mut self, window: &pg::WindowDef, scope: &Scope<'_>) {
        let offsets =
            window.start_offset.as_deref().into_iter().chain(window.end_offset.as_deref());
        self.look(window.partition_clause.iter().chain(&window.order_clause).chain(offsets), scope);
    }

    fn column(&mut self, fields: &[pg::Node], scope: &Scope<'_>) -> Value {
        let parts = strings(fields);
        let is_star = parts.len() < fields.len();
        let (row, name) = match (parts.as_slice(), is_star) {
            ([name], false) => {
                return match scope.name(name) {
                    Some(value) => value,
                    None if SYSTEM_COLUMNS.contains(name) => Value::none(),
                    None if self.body => Value::none(),
                    None => {
                        self.missing.set(true);
                        Value::unknown("a name that stands for no column")
                    }
                };
            }
            ([.., row], true) => (*row, None),
            ([.., row, name], false) => (*row, Some(*name)),
            ([], _) => {
                return scope.entries.iter().map(|e| e.columns.whole()).fold(
                    Value::none(),
                    |mut all, one| {
                        all.absorb(&one);
                        all
                    },
                );
            }
        };
        let Some(columns) = scope.row(row) else {
            if self.body {
                // A variable's field, or a function of it.
                if let Some(name) = name.filter(|name| self.catalog.has_user_function(name)) {
                    self.attribute(name);
                }
                return Value::none();
            }
            return Value::unknown("a name that stands for no row source");
        };
        let Some(name) = name else { return columns.whole() };
        match columns.named(name) {
            Some((value, true)) => value,
            Some((value, false)) => {
                if self.catalog.has_user_function(name) {
                    self.attribute(name);
                    return columns.whole();
                }
                self.missing.set(true);
                value
            }
            None if SYSTEM_COLUMNS.contains(&name) => Value::none(),
            None => {
                // PostgreSQL reads `row.f` as `f(row)` where the row has no column `f`.
                self.attribute(name);
                columns.whole()
            }
        }
    }

    /// A name after a dot that may be a function's.
    fn attribute(&mut self, name: &str) {
        if self.catalog.has_user_function(name) || functions::class(name).is_some() {
            self.act("", name, &[], &Value::none());
        } else {
            self.missing.set(true);
        }
    }

    /// An operator: those of users call their functions.
    pub(crate) fn operator(&mut self, name: &[pg::Node]) {
        let (schema, name) = dotted(name);
        let foreign = !matches!(schema, "" | "pg_catalog");
        if !foreign
            && !functions::is_builtin_operator(name)
            && !self.catalog.has_user_function(name)
        {
            self.missing.set(true);
        }
        if foreign || (schema.is_empty() && self.catalog.has_user_function(name)) {
            let behind = self.catalog.routines().operator(schema, name);
            if !behind.is_empty() && self.catalog.routines().all_compute(&behind) {
                return;
            }
            self.draft.on(Verb::Call, ObjectKind::Function, object(schema, name));
            if behind.is_empty() {
                self.draft.doubt(&format!("operator `{name}` is not known"));
            }
            self.run(&behind);
        }
    }

    /// A cast: whether the value stays what it is, as text. A cast to a user's type may call the
    /// user's functions.
    pub(crate) fn cast(&mut self, to: &pg::TypeName) -> bool {
        let (schema, name) = dotted(&to.names);
        let system = matches!(schema, "" | "pg_catalog" | "information_schema");
        let is_row = || !self.catalog.relations_named(name).is_empty();
        let is_builtin = system && functions::is_builtin_type(name);
        let is_plain = || self.catalog.routines().is_plain_type(name);
        if !is_builtin && !is_row() && !is_plain() {
            self.draft.on(Verb::Call, ObjectKind::Type, object(schema, name));
        }
        let casts = self.catalog.routines().cast_to(name);
        self.run(&casts);
        system
            && matches!(name, "text" | "varchar")
            && to.typmods.is_empty()
            && to.array_bounds.is_empty()
    }

    fn call(&mut self, call: &pg::FuncCall, scope: &Scope<'_>) -> Value {
        let (schema, name) = dotted(&call.funcname);
        self.computed = true;
        self.makes_rows |= functions::makes_rows(name) || functions::class(name).is_none();
        let mut value = self.derived(&call.args, scope);
        // An ordered-set aggregate returns what it orders; others only arrange their arguments.
        let order = self.derived(&call.agg_order, scope);
        self.tested(&order);
        if call.agg_distinct || functions::carries_nothing(name) || functions::makes_rows(name) {
            self.tested(&value);
        }
        if call.agg_within_group {
            value.absorb(&order);
        }
        self.look(call.agg_filter.as_deref(), scope);
        if let Some(window) = call.over.as_deref() {
            self.window(window, scope);
        }
        let mut constants: Vec<Option<String>> = call.args.iter().map(constant).collect();
        if let (Some(first), Some(node)) = (constants.first_mut(), call.args.first())
            && is_name(node)
        {
            first.clone_from(&self.setting);
        }
        if self.act(schema, name, &constants, &value) {
            return if functions::carries_nothing(name) { Value::none() } else { value };
        }
        value.absorb(&Value::unknown(&format!("what `{name}` returns is not known")));
        value
    }

    /// What calling a function does, and whether its result comes from its arguments alone.
    pub(crate) fn act(
        &mut self,
        schema: &str,
        name: &str,
        args: &[Option<String>],
        value: &Value,
    ) -> bool {
        let user = match schema {
            "" => self.catalog.has_user_function(name),
            "pg_catalog" => false,
            "information_schema" => !name.starts_with("_pg_"),
            _ => true,
        };
        let computes = user && self.catalog.routines().computes(schema, name);
        let user = user && !computes;
        let class = match functions::class(name) {
            // The server's own may be meant.
            Some(class) if !computes || schema.is_empty() => Some(class),
            Some(_) | None => computes.then_some(Class::Harmless),
        };
        self.casts_within(schema, name);
        let function = object(if user { schema } else { "pg_catalog" }, name);
        if user || class.is_none() {
            if user && self.call_routines(schema, name) {
                self.draft.passes = true;
            } else {
                self.draft.on(Verb::Call, ObjectKind::Function, function.clone());
                self.draft.doubt(&format!("function `{name}` is not known"));
            }
            // One that is known to be a user's stays as unknown with any newer catalog.
            if !self.catalog.has_user_function(name) {
                self.missing.set(true);
            }
        }
        let Some(class) = class else {
            self.draft.store(value);
            return false;
        };
        let verb = match class {
            Class::Harmless | Class::Reveal => None,
            Class::Session => Some(Verb::Session),
            Class::Sequence => {
                let named = args.first().cloned().flatten();
                self.sequence(named.as_deref());
                None
            }
            Class::Lock => Some(Verb::Lock),
            Class::Notify => Some(Verb::Notify),
            Class::Maintain => Some(Verb::Maintain),
            Class::LargeObjectRead => Some(Verb::Read),
            Class::LargeObjectWrite => Some(Verb::Update),
            Class::LargeObjectDrop => Some(Verb::Drop),
            Class::File => Some(Verb::File),
            Class::Network => Some(Verb::Network),
            Class::Signal => Some(Verb::Signal),
            Class::Config => Some(self.configure(name, args)),
            Class::Replication => Some(Verb::Replication),
            Class::Code => {
                self.draft.doubt(&format!("`{name}` reads what the statement does not name"));
                Some(Verb::Code)
            }
        };
        if let Some(verb) = verb {
            let large = matches!(
                class,
                Class::LargeObjectRead | Class::LargeObjectWrite | Class::LargeObjectDrop
            );
            let kind = if large { ObjectKind::LargeObject } else { ObjectKind::Function };
            match (name, args.first().cloned().flatten()) {
                ("set_config", Some(setting)) => {
                    let setting = ObjectName::bare(&setting.to_ascii_lowercase());
                    self.draft.on(verb, ObjectKind::Setting, setting);
                }
                _ if kind == ObjectKind::LargeObject => self.draft.at(verb, kind),
                _ => self.draft.on(verb, kind, function),
            }
        }
        if !matches!(class, Class::Harmless | Class::Reveal | Class::LargeObjectRead) {
            self.draft.store(value);
        }
        !user
            && !matches!(
                class,
                Class::Reveal
                    | Class::Code
                    | Class::File
                    | Class::Network
                    | Class::Replication
                    | Class::LargeObjectRead
            )
    }

    /// `point(x)` is a cast where no function fits, and what makes JSON of a value looks for a cast to `json`.
    fn casts_within(&mut self, schema: &str, name: &str) {
        if !matches!(schema, "" | "pg_catalog") {
            return;
        }
        let mut casts = self.catalog.routines().cast_to(name);
        if name.contains("json") {
            casts.extend(self.catalog.routines().cast_to("json"));
        }
        self.run(&casts);
    }

    /// `set_config`: as `SET` does; other functions of its class change the server.
    fn configure(&mut self, name: &str, args: &[Option<String>]) -> Verb {
        if name != "set_config" {
            return Verb::Config;
        }
        match (args.first().cloned().flatten(), args.get(1).cloned().flatten()) {
            (Some(setting), Some(value)) => self.setting_verb(&setting, &[&value]),
            _ => {
                self.draft.doubt("a setting whose name or value is computed");
                Verb::Config
            }
        }
    }

    fn sequence(&mut self, name: Option<&str>) {
        let Some(name) = name else {
            self.draft.at(Verb::Update, ObjectKind::Sequence);
            return;
        };
        let plain = name.replace('"', "");
        let (schema, name) = plain.rsplit_once('.').unwrap_or(("", &plain));
        for target in self.targets(schema, name) {
            self.draft.on(Verb::Update, ObjectKind::Sequence, target.name);
        }
    }

    fn sub_link(&mut self, link: &pg::SubLink, scope: &Scope<'_>) -> Value {
        use pg::SubLinkType as Kind;
        self.operator(&link.oper_name);
        let mut value = self.derived(link.testexpr.as_deref(), scope);
        let Some(NodeEnum::SelectStmt(select)) =
            link.subselect.as_deref().and_then(|node| node.node.as_ref())
        else {
            return Value::unknown("a sub-query that is not a query");
        };
        let columns = self.select(select, scope);
        match link.sub_link_type() {
            Kind::ExistsSublink => Value::none(),
            Kind::ExprSublink => match columns.list.first() {
                Some((_, first)) if columns.list.len() == 1 => first.clone(),
                Some(_) | None => columns.whole(),
            },
            Kind::AllSublink
            | Kind::AnySublink
            | Kind::RowcompareSublink
            | Kind::MultiexprSublink
            | Kind::ArraySublink
            | Kind::CteSublink
            | Kind::Undefined => {
                value.absorb(&columns.whole());
                value
            }
        }
    }
}

fn object(schema: &str, name: &str) -> ObjectName {
    if schema.is_empty() { ObjectName::bare(name) } else { ObjectName::qualified(schema, name) }
}

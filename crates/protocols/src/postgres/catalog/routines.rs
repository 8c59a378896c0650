//! What users made that runs when a statement does, as the server's catalog has it.
//!
//! What expressions call is taken from their stored trees: the oids of functions and operators in them. That takes no lock
//! and reads no name, where PostgreSQL's own functions for showing an expression do both.

use std::{collections::HashMap, sync::Arc};

use guard_core::ObjectName;
use guard_sql::{
    Body, Callee, Cast, CastContext, Events, Follow, MAX_BODY, RULE, Reference, Routine, RoutineId,
    Routines, computes_only,
};

use super::{MAX_BYTES, Row, Upstream, unreadable};
use crate::ProtocolError;

/// Functions and procedures that are not the server's own. A body of `BEGIN ATOMIC` has no source: it is shown whole,
/// unless that would wait for a lock.
const ROUTINES: &str = "SELECT p.oid, n.nspname, p.proname, p.prokind, l.lanname, \
        pg_catalog.array_to_string(p.proconfig, E'\\x01'), \
        CASE WHEN pg_catalog.octet_length(p.prosrc) <= 131072 THEN p.prosrc END, \
        CASE WHEN p.prosrc = '' AND l.lanname = 'sql' AND p.prokind IN ('f', 'p') AND NOT EXISTS ( \
            SELECT FROM pg_catalog.pg_locks k JOIN pg_catalog.pg_depend d ON d.refobjid = k.relation \
                AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
            WHERE k.mode = 'AccessExclusiveLock' AND d.objid = p.oid \
                AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass) \
            THEN pg_catalog.pg_get_functiondef(p.oid) END, \
        p.probin, p.proretset \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
        JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
    WHERE p.oid >= 16384 OR n.nspname NOT IN ('pg_catalog', 'information_schema')";

/// Which functions lead to which others, by kind of what is between.
///
/// An operator's function is looked up by the operator (`opno`): the function's oid beside it is only a note. Of what
/// indexes, sorts and ranges compare by, functions in C that an extension brought are left out: who installs it trusts it.
const LINKS: &str = "WITH RECURSIVE belonging (oid) AS ( \
        SELECT p.oid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_proc p ON p.oid = d.objid \
            JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
        WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'e' \
            AND l.lanname IN ('c', 'internal')), \
    comparing (type, family, callee) AS ( \
        SELECT x.type, x.family, x.callee FROM ( \
            SELECT amproclefttype AS type, amprocfamily AS family, amproc::pg_catalog.oid AS callee \
                FROM pg_catalog.pg_amproc WHERE oid >= 16384 \
            UNION SELECT m.amoplefttype, m.amopfamily, o.oprcode::pg_catalog.oid FROM pg_catalog.pg_amop m \
                JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr WHERE m.oid >= 16384 \
            UNION SELECT r.rngtypid, 0::pg_catalog.oid, part FROM pg_catalog.pg_range r, \
                LATERAL pg_catalog.unnest(ARRAY[r.rngcanonical::pg_catalog.oid, r.rngsubdiff::pg_catalog.oid]) part) x \
        WHERE x.callee >= 16384 AND x.callee NOT IN (SELECT oid FROM belonging)), \
    usual (type, family, callee) AS ( \
        SELECT c.type, c.family, c.callee FROM comparing c WHERE c.family = 0::pg_catalog.oid OR EXISTS ( \
            SELECT FROM pg_catalog.pg_opclass o \
            WHERE o.opcfamily = c.family AND o.opcintype = c.type AND o.opcdefault)), \
    checks (type, tree) AS ( \
        SELECT contypid, conbin::pg_catalog.text FROM pg_catalog.pg_constraint \
        WHERE contypid <> 0 AND conbin IS NOT NULL), \
    inside (type, part) AS ( \
        SELECT type, type FROM (SELECT type FROM usual UNION SELECT type FROM checks) s WHERE type >= 16384 \
        UNION SELECT x.whole, i.part FROM inside i JOIN ( \
            SELECT oid AS whole, typbasetype AS part FROM pg_catalog.pg_type WHERE typbasetype <> 0 \
            UNION ALL SELECT oid, typelem FROM pg_catalog.pg_type WHERE typelem <> 0 AND typcategory = 'A' \
            UNION ALL SELECT t.oid, a.atttypid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_attribute a \
                ON a.attrelid = t.typrelid WHERE t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped) x \
            ON x.part = i.type WHERE x.part >= 16384), \
    trees (kind, of, events, tree) AS MATERIALIZED ( \
        SELECT 'p', oid, 0, proargdefaults::pg_catalog.text FROM pg_catalog.pg_proc \
            WHERE proargdefaults IS NOT NULL AND oid >= 16384 \
        UNION ALL SELECT 'r', d.adrelid, CASE WHEN a.attgenerated <> '' THEN 35 ELSE 65 END, \
                d.adbin::pg_catalog.text FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a \
                ON a.attrelid = d.adrelid AND a.attnum = d.adnum \
        UNION ALL SELECT 'r', conrelid, 35, conbin::pg_catalog.text FROM pg_catalog.pg_constraint \
            WHERE conrelid <> 0 AND conbin IS NOT NULL \
        UNION ALL SELECT 'r', indrelid, 35, coalesce(indexprs::pg_catalog.text, '') \
                || coalesce(indpred::pg_catalog.text, '') FROM pg_catalog.pg_index \
            WHERE indrelid >= 16384 AND (indexprs IS NOT NULL OR indpred IS NOT NULL) \
        UNION ALL SELECT 'r', partrelid, 1, partexprs::pg_catalog.text FROM pg_catalog.pg_partitioned_table \
            WHERE partexprs IS NOT NULL \
        UNION ALL SELECT 'r', polrelid, 23, coalesce(polqual::pg_catalog.text, '') \
                || coalesce(polwithcheck::pg_catalog.text, '') FROM pg_catalog.pg_policy \
        UNION ALL SELECT 'r', tgrelid, 7, tgqual::pg_catalog.text FROM pg_catalog.pg_trigger \
            WHERE tgqual IS NOT NULL AND NOT tgisinternal \
        UNION ALL SELECT 't', i.type, 0, c.tree FROM inside i JOIN checks c ON c.type = i.part \
        UNION ALL SELECT 'r', a.attrelid, 35, c.tree FROM pg_catalog.pg_attribute a \
            JOIN inside i ON i.type = a.atttypid JOIN checks c ON c.type = i.part \
            WHERE a.attnum > 0 AND NOT a.attisdropped), \
    found (kind, of, events, is_operator, oid) AS ( \
        SELECT DISTINCT t.kind, t.of, t.events, p.field = ':opno ', n.number::pg_catalog.oid FROM trees t, \
            (VALUES (':funcid '), (':opno '), (':aggfnoid '), (':winfnoid ')) p (field), \
            LATERAL pg_catalog.unnest((pg_catalog.string_to_array(t.tree, p.field))[2:]) after, \
            LATERAL pg_catalog.split_part(after, ' ', 1) n (number) \
        WHERE pg_catalog.strpos(t.tree, p.field) > 0 AND n.number ~ '^[0-9]{1,10}$'), \
    links (kind, of, events, callee) AS ( \
        SELECT kind, of, events, oid FROM found WHERE NOT is_operator \
        UNION SELECT f.kind, f.of, f.events, o.oprcode FROM found f \
            JOIN pg_catalog.pg_operator o ON o.oid = f.oid WHERE f.is_operator \
        UNION SELECT 'p', aggfnoid, 0, part FROM pg_catalog.pg_aggregate, \
            LATERAL pg_catalog.unnest(ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, \
                aggmtransfn, aggminvtransfn, aggmfinalfn]) part WHERE aggfnoid >= 16384 AND part <> 0 \
        UNION SELECT 'r', tgrelid, ((tgtype::pg_catalog.int4 & 4) >> 2) | ((tgtype::pg_catalog.int4 & 16) >> 3) \
                | ((tgtype::pg_catalog.int4 & 8) >> 1) | ((tgtype::pg_catalog.int4 & 32) >> 2), tgfoid \
            FROM pg_catalog.pg_trigger WHERE NOT tgisinternal \
        UNION SELECT 't', i.type, 0, u.callee FROM inside i JOIN usual u ON u.type = i.part \
        UNION SELECT 'r', a.attrelid, 63, u.callee FROM usual u \
            JOIN (SELECT type, part FROM inside UNION SELECT type, type FROM usual) i ON i.part = u.type \
            JOIN pg_catalog.pg_attribute a ON a.atttypid = i.type AND a.attnum > 0 AND NOT a.attisdropped \
        UNION SELECT 'r', i.indrelid, 63, c.callee FROM comparing c \
            JOIN pg_catalog.pg_opclass o ON o.opcfamily = c.family \
            JOIN pg_catalog.pg_index i ON o.oid = ANY (i.indclass) \
        UNION SELECT 'r', p.partrelid, 63, c.callee FROM comparing c \
            JOIN pg_catalog.pg_opclass o ON o.opcfamily = c.family \
            JOIN pg_catalog.pg_partitioned_table p ON o.oid = ANY (p.partclass) \
        UNION SELECT 'e', 0, 0, evtfoid FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D') \
    SELECT l.kind, l.of, CASE WHEN l.kind = 't' THEN \
            (SELECT typname FROM pg_catalog.pg_type t WHERE t.oid = l.of) END, \
        l.events, p.oid, p.proname, p.oid < 16384 AND n.nspname = 'pg_catalog' \
    FROM links l JOIN pg_catalog.pg_proc p ON p.oid = l.callee \
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace";

/// Operators that are not the server's own.
const OPERATORS: &str = "SELECT n.nspname, o.oprname, p.oid, p.proname, \
        p.oid < 16384 AND pn.nspname = 'pg_catalog' \
    FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
        JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace \
    WHERE o.oid >= 16384 OR n.nspname NOT IN ('pg_catalog', 'information_schema')";

/// Casts that somebody made and that call a function. Those of an extension belong to its types, as their input does, if they
/// are in C: an extension's owner, who need not be a superuser, can make anything else a part of it.
const CASTS: &str = "SELECT t.typname, t.oid, c.castcontext, p.oid, p.proname, \
        p.oid < 16384 AND n.nspname = 'pg_catalog' \
    FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid = c.casttarget \
        JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
        JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
    WHERE c.oid >= 16384 AND NOT (l.lanname IN ('c', 'internal') AND EXISTS (SELECT FROM pg_catalog.pg_depend d \
        WHERE d.classid = 'pg_catalog.pg_cast'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'))";

/// Rules of users, unless showing one would wait for a lock.
const RULES: &str = "SELECT r.oid, r.ev_class, r.ev_type, r.rulename, n.nspname, CASE WHEN NOT EXISTS ( \
        SELECT FROM pg_catalog.pg_locks l WHERE l.mode = 'AccessExclusiveLock' AND (l.relation = r.ev_class \
            OR l.relation IN (SELECT d.refobjid FROM pg_catalog.pg_depend d WHERE d.objid = r.oid \
                AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
                AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass))) \
        THEN pg_catalog.pg_get_ruledef(r.oid) END \
    FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE r.rulename <> '_RETURN' AND r.oid >= 16384";

/// Foreign keys. Those between partitions have rows of their own.
const REFERENCES: &str = "SELECT conrelid, pg_catalog.array_to_string(conkey, ','), \
        confrelid, pg_catalog.array_to_string(confkey, ','), confdeltype, confupdtype \
    FROM pg_catalog.pg_constraint WHERE contype = 'f'";

/// Types that are not the server's own, each with the function that makes its values of texts.
const TYPES: &str = "SELECT t.typname, t.typtype, l.lanname, p.prosrc, p.probin \
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_proc p ON p.oid = t.typinput \
        JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
    WHERE t.oid >= 16384 AND (t.typtype <> 'b' OR t.typelem = 0 OR t.typcategory <> 'A')";

/// What is asked, in the order in which [`load`] reads the answers.
pub(super) const QUERIES: [&str; 7] = [LINKS, OPERATORS, CASTS, REFERENCES, ROUTINES, RULES, TYPES];

/// Reads all of it. What cannot be shown now, because of a lock, is said to be unknown.
pub(super) async fn load(upstream: &mut Upstream) -> Result<(Routines, bool), ProtocolError> {
    let mut all = Routines::default();
    let mut also: HashMap<RoutineId, Vec<Callee>> = HashMap::new();
    for row in upstream.own_answer(MAX_BYTES).await? {
        let mut row = Row::new(row);
        let (kind, of) = (row.text()?, row.number::<u32>()?);
        let type_name = row.optional();
        let events = Events(row.number()?);
        let callee = callee(&mut row)?;
        match kind.as_str() {
            "p" => also.entry(of.into()).or_default().push(callee),
            "r" => all.relations.push((of, events, callee)),
            "t" => all.types.push((type_name.ok_or_else(unreadable)?.into(), callee)),
            "e" => all.event_triggers.push(callee),
            _ => return Err(unreadable()),
        }
    }
    for row in upstream.own_answer(MAX_BYTES).await? {
        let mut row = Row::new(row);
        let name = ObjectName::qualified(&row.text()?, &row.text()?);
        all.operators.push((name, callee(&mut row)?));
    }
    for row in upstream.own_answer(MAX_BYTES).await? {
        let mut row = Row::new(row);
        let (target, target_oid) = (row.text()?.into(), row.number()?);
        let context = match row.text()?.as_str() {
            "e" => CastContext::Explicit,
            "a" => CastContext::Assignment,
            "i" => CastContext::Implicit,
            _ => return Err(unreadable()),
        };
        all.casts.push(Cast { target, target_oid, context, callee: callee(&mut row)? });
    }
    for row in upstream.own_answer(MAX_BYTES).await? {
        let mut row = Row::new(row);
        all.references.push(Reference {
            from: row.number()?,
            from_columns: numbers(&row.text()?)?,
            to: row.number()?,
            to_columns: numbers(&row.text()?)?,
            on_delete: follow(&row.text()?)?,
            on_update: follow(&row.text()?)?,
        });
    }
    let mut incomplete = false;
    for row in upstream.own_answer(MAX_BYTES).await? {
        let routine = routine(&mut Row::new(row), &mut also)?;
        incomplete |= matches!(&routine.body, Body::Opaque(why) if &**why == LOCKED);
        all.routines.push(routine);
    }
    for row in upstream.own_answer(MAX_BYTES).await? {
        let mut row = Row::new(row);
        let (oid, relation) = (row.number::<u32>()?, row.number()?);
        let events = match row.text()?.as_str() {
            "1" => Events::READ,
            "2" => Events::UPDATE,
            "3" => Events::INSERT,
            "4" => Events::DELETE,
            _ => return Err(unreadable()),
        };
        let (rule, schema) = (row.text()?, row.text()?);
        let body = row.optional().map(|text| Body::Definition(text.into()));
        incomplete |= body.is_none();
        let id = RULE | RoutineId::from(oid);
        all.relations.push((relation, events, Callee::Routine(id)));
        all.routines.push(Routine {
            id,
            name: ObjectName::qualified(&schema, &rule),
            body: body.unwrap_or_else(|| Body::Opaque(LOCKED.into())),
            settings: Vec::new(),
            also: Vec::new(),
        });
    }
    all.plain_types = plain_types(upstream.own_answer(MAX_BYTES).await?)?;
    Ok((all, incomplete))
}

/// Names of types of which each, in whatever schema, is made of a text by reading it and nothing else.
fn plain_types(rows: Vec<Vec<Option<String>>>) -> Result<Vec<Arc<str>>, ProtocolError> {
    let mut types: HashMap<String, bool> = HashMap::new();
    for row in rows {
        let mut row = Row::new(row);
        let (name, kind, language) = (row.text()?, row.text()?, row.text()?);
        let (symbol, place) = (row.text()?, row.optional());
        let is_plain = match (kind.as_str(), language.as_str(), &place) {
            ("e", "internal", None) => symbol == "enum_in",
            ("b", "c", Some(_)) | ("b", "internal", None) => {
                computes_only(place.as_deref(), &symbol)
            }
            _ => false,
        };
        *types.entry(name).or_insert(true) &= is_plain;
    }
    let plain = types.into_iter().filter(|(_, is_plain)| *is_plain);
    Ok(plain.map(|(name, _)| name.into()).collect())
}

/// Why a body is not known for the moment.
const LOCKED: &str = "its definition is locked";

fn routine(
    row: &mut Row,
    also: &mut HashMap<RoutineId, Vec<Callee>>,
) -> Result<Routine, ProtocolError> {
    let id = RoutineId::from(row.number::<u32>()?);
    let name = ObjectName::qualified(&row.text()?, &row.text()?);
    let (kind, language) = (row.text()?, row.text()?);
    let settings = row.optional().unwrap_or_default();
    let settings = settings.split('\u{1}').filter_map(|setting| setting.split_once('='));
    let settings: Vec<(Arc<str>, Arc<str>)> =
        settings.map(|(name, value)| (name.into(), value.into())).collect();
    let (source, definition) = (row.optional(), row.optional());
    let (place, returns_rows) = (row.optional(), row.flag()?);
    let computes = |symbol: &str| {
        let is_c = matches!((language.as_str(), &place), ("c", Some(_)) | ("internal", None));
        is_c && kind == "f" && !returns_rows && computes_only(place.as_deref(), symbol)
    };
    let body = match (kind.as_str(), language.as_str(), source, definition) {
        ("a", _, _, _) => Body::Aggregate,
        (_, _, Some(symbol), _) if computes(&symbol) => Body::Computes,
        (_, "sql", _, Some(definition)) if definition.len() <= MAX_BODY => {
            Body::Definition(definition.into())
        }
        (_, "sql", Some(source), None) if source.is_empty() => Body::Opaque(LOCKED.into()),
        (_, "sql", Some(source), None) => Body::Sql(source.into()),
        (_, "plpgsql", Some(source), _) => Body::Plpgsql(source.into()),
        (_, "sql" | "plpgsql", _, _) => Body::Opaque("its body is too long to be read".into()),
        (_, language, _, _) => {
            Body::Opaque(format!("code in the language `{language}` is not read").into())
        }
    };
    Ok(Routine { id, name, body, settings, also: also.remove(&id).unwrap_or_default() })
}

fn callee(row: &mut Row) -> Result<Callee, ProtocolError> {
    let (oid, name, builtin) = (row.number::<u32>()?, row.text()?, row.flag()?);
    Ok(if builtin { Callee::Builtin(name.into()) } else { Callee::Routine(oid.into()) })
}

fn numbers(list: &str) -> Result<Vec<i16>, ProtocolError> {
    list.split(',').map(|number| number.parse().map_err(|_| unreadable())).collect()
}

fn follow(action: &str) -> Result<Follow, ProtocolError> {
    match action {
        "a" | "r" => Ok(Follow::Refuse),
        "c" => Ok(Follow::Cascade),
        "n" | "d" => Ok(Follow::Set),
        _ => Err(unreadable()),
    }
}

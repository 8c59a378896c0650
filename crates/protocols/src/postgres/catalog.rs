//! The server's catalog, loaded over a connection of guard's own and shared by all of a session's clients.
//!
//! Others change definitions too, and nobody tells guard. So a snapshot is held against the server again
//! when it is older than [`MAX_AGE`], and at once when a statement names what is not in it.

mod routines;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use guard_core::ObjectName;
use guard_sql::{Catalog, Column, Relation, RelationKind};
use tokio::time::timeout;

use super::{mask::UserType, upstream::Upstream};
use crate::{ProtocolError, Resource};

/// A catalog that takes longer is not waited for: clients wait behind it.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A new connection that takes longer waits for a lock: a server that starts one reads catalogs, too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// [`LOAD_TIMEOUT`] for the server, as a setting in milliseconds.
const STATEMENT_TIMEOUT: &[u8] = b"30000";
/// A view's definition that is locked after all is left out instead of waited for; in milliseconds.
const LOCK_TIMEOUT: &[u8] = b"1000";
/// Largest answer to one of the queries below; some 300 000 columns.
const MAX_BYTES: usize = 64 << 20;
/// How long a definition that somebody else changed may go unseen.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Differs from what it was whenever an answer to one of the queries below may do so: a new version of
/// a row has another `xmin`. Costs some milliseconds where those take a second.
const MARK: &str = "WITH known AS MATERIALIZED (SELECT oid, xmin FROM pg_catalog.pg_class \
        WHERE oid >= 16384 AND relpersistence <> 't' AND relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'c')), \
    version (part, place, number, xmin) AS ( \
        SELECT 1, oid, 0, xmin FROM known \
        UNION ALL SELECT 2, attrelid, attnum, xmin FROM pg_catalog.pg_attribute \
            WHERE attrelid IN (SELECT oid FROM known) \
        UNION ALL SELECT 3, oid, 0, xmin FROM pg_catalog.pg_namespace \
        UNION ALL SELECT 4, inhrelid, inhseqno, xmin FROM pg_catalog.pg_inherits \
        UNION ALL SELECT 5, oid, 0, xmin FROM pg_catalog.pg_trigger WHERE NOT tgisinternal \
        UNION ALL SELECT 6, oid, 0, xmin FROM pg_catalog.pg_rewrite WHERE oid >= 16384 \
        UNION ALL SELECT 7, oid, 0, xmin FROM pg_catalog.pg_type \
            WHERE oid >= 16384 AND (typtype IN ('d', 'e', 'r', 'm') OR typtype = 'b' AND typcategory <> 'A') \
        UNION ALL SELECT 10, oid, 0, xmin FROM pg_catalog.pg_enum \
        UNION ALL SELECT 8, oid, 0, xmin FROM pg_catalog.pg_proc WHERE oid >= 16384 \
        UNION ALL SELECT 9, oid, 0, xmin FROM pg_catalog.pg_operator WHERE oid >= 16384 \
        UNION ALL SELECT 16, oid, 0, xmin FROM pg_catalog.pg_attrdef WHERE oid >= 16384 \
        UNION ALL SELECT 11, oid, 0, xmin FROM pg_catalog.pg_constraint WHERE oid >= 16384 AND contype IN ('c', 'f') \
        UNION ALL SELECT 12, indexrelid, 0, xmin FROM pg_catalog.pg_index WHERE indrelid >= 16384 \
        UNION ALL SELECT 13, oid, 0, xmin FROM pg_catalog.pg_policy \
        UNION ALL SELECT 14, oid, 0, xmin FROM pg_catalog.pg_cast WHERE oid >= 16384 \
        UNION ALL SELECT 15, oid, 0, xmin FROM pg_catalog.pg_event_trigger \
        UNION ALL SELECT 17, oid, 0, xmin FROM pg_catalog.pg_amproc WHERE oid >= 16384 \
        UNION ALL SELECT 18, oid, 0, xmin FROM pg_catalog.pg_amop WHERE oid >= 16384 \
        UNION ALL SELECT 19, oid, 0, xmin FROM pg_catalog.pg_opclass WHERE oid >= 16384 \
        UNION ALL SELECT 20, objid, 0, xmin FROM pg_catalog.pg_depend WHERE deptype = 'e' \
            AND refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass) \
    SELECT pg_catalog.count(*), pg_catalog.sum(pg_catalog.hashint8extended( \
        (place::pg_catalog.int8 << 32) | xmin::pg_catalog.text::pg_catalog.int8, \
        (part::pg_catalog.int8 << 32) | number)) FROM version";

/// Relations with their parents, and whether something of a user's runs on a write.
const RELATIONS: &str = "SELECT c.oid, n.nspname, c.relname, c.relkind, \
    (SELECT pg_catalog.string_agg(i.inhparent::pg_catalog.text, ',') FROM pg_catalog.pg_inherits i \
        WHERE i.inhrelid = c.oid), \
    EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) \
        OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r \
            WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN') \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND c.relpersistence <> 't'";

/// What views are made of, each with whether it can be read now: that takes a lock on the view and on what it
/// names, which an open transaction may hold exclusively. It may be the very one that waits for this.
/// System views are known by their columns only: what they show is not for a policy on tables.
const DEFINITIONS: &str = "SELECT c.oid, CASE WHEN NOT EXISTS ( \
        SELECT FROM pg_catalog.pg_locks l WHERE l.mode = 'AccessExclusiveLock' AND (l.relation = c.oid \
            OR l.relation IN (SELECT d.refobjid FROM pg_catalog.pg_rewrite r \
                JOIN pg_catalog.pg_depend d ON d.objid = r.oid \
                    AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
                    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                WHERE r.ev_class = c.oid))) \
        THEN pg_catalog.pg_get_viewdef(c.oid) END \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('v', 'm') AND c.relpersistence <> 't' \
        AND n.nspname NOT IN ('pg_catalog', 'information_schema')";

/// Columns; a domain is its base type, a text type of an extension is text.
macro_rules! columns {
    ($which:literal) => {
        concat!(
            "WITH RECURSIVE base (oid, root, modifier) AS ( \
                SELECT t.oid, CASE WHEN t.oid >= 16384 AND t.typcategory = 'S' AND t.typtype = 'b' \
                    THEN 25::pg_catalog.oid ELSE t.oid END, -1 \
                FROM pg_catalog.pg_type t WHERE t.typtype <> 'd' \
                UNION ALL \
                SELECT d.oid, b.root, CASE WHEN d.typtypmod <> -1 THEN d.typtypmod ELSE b.modifier END \
                FROM pg_catalog.pg_type d JOIN base b ON d.typbasetype = b.oid WHERE d.typtype = 'd') \
            SELECT a.attrelid, a.attname, a.attnum, coalesce(b.root, a.atttypid), \
                CASE WHEN a.atttypmod <> -1 THEN a.atttypmod ELSE coalesce(b.modifier, -1) END, \
                a.attnotnull, a.attgenerated <> '' \
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                LEFT JOIN base b ON b.oid = a.atttypid \
            WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') \
                AND c.relpersistence <> 't'",
            $which,
            " ORDER BY a.attrelid, a.attnum"
        )
    };
}

/// Those of all relations.
const COLUMNS: &str = columns!("");

/// Those of relations that are not the server's own: its own stay what they are.
const USER_COLUMNS: &str = columns!(" AND c.oid >= 16384");

/// What is called by name and was made by a user: object ids from 16384 on, and other schemas.
const FUNCTIONS: &str = "SELECT p.proname FROM pg_catalog.pg_proc p \
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
        WHERE p.oid >= 16384 OR n.nspname NOT IN ('pg_catalog', 'information_schema') \
    UNION SELECT o.oprname FROM pg_catalog.pg_operator o \
        JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
        WHERE o.oid >= 16384 OR n.nspname NOT IN ('pg_catalog', 'information_schema')";

/// Text types of extensions.
const TEXT_TYPES: &str = "SELECT t.oid FROM pg_catalog.pg_type t \
    WHERE t.oid >= 16384 AND t.typcategory = 'S' AND t.typtype = 'b'";

/// Types that users made and that are no texts, a row for each part of one: labels, fields, elements.
const USER_TYPES: &str = "SELECT oid, kind, detail FROM ( \
        SELECT e.enumtypid AS oid, 'e' AS kind, e.enumlabel::pg_catalog.text AS detail, \
            e.enumsortorder AS place FROM pg_catalog.pg_enum e \
        UNION ALL SELECT t.oid, 'c', a.atttypid::pg_catalog.text, a.attnum FROM pg_catalog.pg_type t \
            JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind = 'c' \
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
        UNION ALL SELECT t.oid, 'a', t.typelem::pg_catalog.text, 0 FROM pg_catalog.pg_type t \
            WHERE t.typcategory = 'A' AND t.typelem <> 0 \
                AND t.oid IN (SELECT a.atttypid FROM pg_catalog.pg_attribute a) \
        UNION ALL SELECT t.oid, t.typtype::pg_catalog.text, '', 0 FROM pg_catalog.pg_type t \
            WHERE t.typtype IN ('r', 'm')) AS part \
    WHERE oid >= 16384 ORDER BY oid, place";

/// Many small queries that look large to the planner: compiling one takes longer than running it.
const NO_JIT: &str = "SELECT pg_catalog.set_config(name, 'off', false) FROM pg_catalog.pg_settings \
    WHERE name = 'jit'";

/// Objects from here on are not the server's own (`FirstNormalObjectId`).
const FIRST_USER_OID: u32 = 16384;

/// The type `text`.
const TEXT: u32 = 25;

/// The catalog at one moment.
pub(super) struct Snapshot {
    /// Counts the loads: what was understood with another version is understood again.
    pub(super) version: u64,
    pub(super) catalog: Catalog,
    text_types: HashSet<u32>,
    user_types: HashMap<u32, UserType>,
    /// Some view's definition could not be read.
    incomplete: bool,
    /// The server's answer to [`MARK`] before it was loaded.
    mark: Mark,
}

type Mark = Vec<Option<String>>;

/// A snapshot, and since when it is known to be what the server has.
#[derive(Clone)]
struct Held {
    snapshot: Arc<Snapshot>,
    checked: Instant,
}

/// Holds the newest snapshot.
pub(super) struct Catalogs {
    resource: Arc<dyn Resource>,
    current: RwLock<Option<Held>>,
    /// A definition was changed since it was checked.
    outdated: AtomicBool,
    /// When a check began that failed last: who waited for it shares its end.
    failed: RwLock<Option<Instant>>,
    /// Guard's own connection, while nothing is under way on it. One check at a time.
    connection: tokio::sync::Mutex<Option<Upstream>>,
}

// === impl Snapshot ===

impl Snapshot {
    /// The type whose values look like those of this one, for a mask.
    pub(super) fn type_for_mask(&self, oid: u32) -> u32 {
        if self.text_types.contains(&oid) { TEXT } else { oid }
    }

    /// A type that somebody made.
    pub(super) fn user_type(&self, oid: u32) -> Option<&UserType> {
        self.user_types.get(&oid)
    }

    /// A column and its relation, by the ids in a RowDescription.
    pub(super) fn column(&self, table: u32, number: i16) -> Option<(&Arc<Relation>, &Column)> {
        let relation = self.catalog.relation(table)?;
        let column = relation.columns.iter().find(|column| column.number == number)?;
        Some((relation, column))
    }

    /// A column by its names.
    pub(super) fn named(&self, table: &ObjectName, column: &str) -> Option<&Column> {
        let relations = self.catalog.relations_named(&table.name);
        let relation = relations.iter().find(|relation| relation.name == *table)?;
        relation.columns.iter().find(|known| &*known.name == column)
    }
}

// === impl Catalogs ===

impl Catalogs {
    pub(super) fn new(resource: Arc<dyn Resource>) -> Self {
        Self {
            resource,
            current: RwLock::default(),
            outdated: AtomicBool::new(false),
            failed: RwLock::default(),
            connection: tokio::sync::Mutex::default(),
        }
    }

    /// A snapshot that is no older than [`MAX_AGE`] and has what this session's clients changed.
    pub(super) async fn current(&self) -> Result<Arc<Snapshot>, ProtocolError> {
        if let Some(snapshot) = self.fresh() {
            return Ok(snapshot);
        }
        self.since(Instant::now()).await
    }

    /// The same, if the server need not be asked for it.
    pub(super) fn fresh(&self) -> Option<Arc<Snapshot>> {
        match self.newest() {
            Some(Held { snapshot, checked })
                if checked.elapsed() < MAX_AGE && !self.outdated.load(Ordering::Acquire) =>
            {
                Some(snapshot)
            }
            Some(_) | None => None,
        }
    }

    /// A snapshot of what the server has now or had at some time after `moment`.
    pub(super) async fn since(&self, moment: Instant) -> Result<Arc<Snapshot>, ProtocolError> {
        let mut connection = self.connection.lock().await;
        let held = self.newest();
        if let Some(Held { snapshot, checked }) = &held
            && *checked >= moment
            && !self.outdated.load(Ordering::Acquire)
        {
            return Ok(snapshot.clone());
        }
        // Each of many that wait would take as long again, and the one whose lock is in the way may be the last.
        let failed = *self.failed.read().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|failed| failed >= moment) {
            return Err(ProtocolError::Resource("its catalog could not be read".into()));
        }
        // Before it is read: a change while it is read outdates it again.
        self.outdated.store(false, Ordering::Release);
        let checked = Instant::now();
        let before = held.map(|held| held.snapshot);
        let loaded = match timeout(LOAD_TIMEOUT, self.load(&mut connection, before)).await {
            Ok(loaded) => loaded,
            Err(_) => Err(ProtocolError::Resource("its catalog takes too long to read".into())),
        };
        let snapshot = loaded.inspect_err(|_| {
            self.outdate();
            *self.failed.write().unwrap_or_else(PoisonError::into_inner) = Some(checked);
        })?;
        let held = Held { snapshot: snapshot.clone(), checked };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(snapshot)
    }

    /// Says that a definition was changed.
    pub(super) fn outdate(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    /// The newest snapshot that is there.
    pub(super) fn held(&self) -> Option<Arc<Snapshot>> {
        self.newest().map(|held| held.snapshot)
    }

    fn newest(&self) -> Option<Held> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the server has: the snapshot of before if nothing has changed.
    ///
    /// While it is used the connection is out of its place: one that was left in the middle of an answer is
    /// not used again.
    async fn load(
        &self,
        place: &mut Option<Upstream>,
        before: Option<Arc<Snapshot>>,
    ) -> Result<Arc<Snapshot>, ProtocolError> {
        let kept = match place.take() {
            // The server may have closed it since: that is no error of the statement that waits.
            Some(mut kept) => mark(&mut kept).await.ok().map(|mark| (kept, mark)),
            None => None,
        };
        let (upstream, mark, is_same) = match kept {
            Some((upstream, mark)) => (upstream, mark, true),
            None => self.connect().await.map(|(upstream, mark)| (upstream, mark, false))?,
        };
        if let Some(before) = &before
            && before.mark == mark
            && !before.incomplete
        {
            *place = Some(upstream);
            return Ok(before.clone());
        }
        let version = before.as_ref().map_or(1, |before| before.version + 1);
        let known = before.as_deref().filter(|_| is_same);
        let (snapshot, usable) = match load(upstream, mark, version, known).await {
            Ok(loaded) => loaded,
            // Something was dropped or locked while it was shown: it is known to be so now.
            Err(_) => {
                let (upstream, mark) = self.connect().await?;
                load(upstream, mark, version, None).await?
            }
        };
        *place = usable;
        Ok(Arc::new(snapshot))
    }

    /// A new connection, and the server's answer to [`MARK`].
    async fn connect(&self) -> Result<(Upstream, Mark), ProtocolError> {
        let connected = timeout(CONNECT_TIMEOUT, connect(&*self.resource)).await;
        let mut upstream = connected.map_err(|_| {
            ProtocolError::Resource("a connection for its catalog takes too long".into())
        })??;
        let mark = mark(&mut upstream).await?;
        Ok((upstream, mark))
    }
}

async fn mark(upstream: &mut Upstream) -> Result<Mark, ProtocolError> {
    let rows = upstream.own_query(MARK, MAX_BYTES).await?;
    rows.into_iter().next().ok_or_else(unreadable)
}

async fn connect(resource: &dyn Resource) -> Result<Upstream, ProtocolError> {
    let parameter = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
    let parameters = [
        parameter(b"database", resource.spec().database.as_bytes()),
        parameter(b"application_name", b"guard"),
        parameter(b"client_encoding", b"UTF8"),
        parameter(b"search_path", b""),
        parameter(b"statement_timeout", STATEMENT_TIMEOUT),
        parameter(b"lock_timeout", LOCK_TIMEOUT),
        parameter(b"standard_conforming_strings", b"on"),
    ];
    let (mut upstream, _) = Upstream::connect(resource, &parameters).await?;
    upstream.own_query(NO_JIT, MAX_BYTES).await?;
    Ok(upstream)
}

/// Reads all of it. With what was read before over the same connection, the server's own columns are taken from there.
async fn load(
    mut upstream: Upstream,
    mark: Mark,
    version: u64,
    before: Option<&Snapshot>,
) -> Result<(Snapshot, Option<Upstream>), ProtocolError> {
    let columns = if before.is_some() { USER_COLUMNS } else { COLUMNS };
    let first = [columns, RELATIONS, FUNCTIONS, TEXT_TYPES, USER_TYPES];
    upstream.own_queries(first.into_iter().chain(routines::QUERIES).chain([DEFINITIONS])).await?;
    let mut columns: HashMap<u32, Vec<Column>> = HashMap::new();
    for row in upstream.own_answer(MAX_BYTES).await? {
        let mut row = Row::new(row);
        let relation = row.number()?;
        columns.entry(relation).or_default().push(Column {
            name: row.text()?.into(),
            number: row.number()?,
            type_oid: row.number()?,
            type_modifier: row.number()?,
            not_null: row.flag()?,
            generated: row.flag()?,
        });
    }
    let mut relations = Vec::new();
    for row in upstream.own_answer(MAX_BYTES).await? {
        let mut row = Row::new(row);
        let oid = row.number()?;
        let name = ObjectName::qualified(&row.text()?, &row.text()?);
        let kind = match row.text()?.as_str() {
            "r" | "p" => RelationKind::Table,
            "f" => RelationKind::Foreign,
            "v" => RelationKind::View,
            "m" => RelationKind::MaterializedView,
            "S" => RelationKind::Sequence,
            _ => return Err(unreadable()),
        };
        let parents = row.optional().unwrap_or_default();
        let parents = parents.split(',').filter_map(|parent| parent.parse().ok()).collect();
        let has_triggers = row.flag()?;
        let known = |before: &Snapshot| Some(before.catalog.relation(oid)?.columns.clone());
        let known = before.filter(|_| oid < FIRST_USER_OID).and_then(known);
        let columns = columns.remove(&oid).or(known).unwrap_or_default();
        let definition = None;
        relations.push(Relation { oid, name, kind, columns, definition, parents, has_triggers });
    }
    let names = |rows: Vec<Vec<Option<String>>>| rows.into_iter().flatten().flatten();
    let functions: Vec<Arc<str>> =
        names(upstream.own_answer(MAX_BYTES).await?).map(Into::into).collect();
    let text_types =
        names(upstream.own_answer(MAX_BYTES).await?).filter_map(|oid| oid.parse().ok()).collect();
    let user_types = user_types(upstream.own_answer(MAX_BYTES).await?)?;
    let (routines, locked) = routines::load(&mut upstream).await?;
    // The last one: a connection whose query failed is of no more use.
    let (incomplete, usable) = match upstream.own_answer(MAX_BYTES).await {
        Ok(rows) => (define(&mut relations, rows)?, Some(upstream)),
        Err(_) => (true, None),
    };
    let catalog = Catalog::new(relations, functions).with_routines(routines);
    let incomplete = incomplete || locked;
    let snapshot = Snapshot { version, catalog, text_types, user_types, incomplete, mark };
    Ok((snapshot, usable))
}

fn user_types(rows: Vec<Vec<Option<String>>>) -> Result<HashMap<u32, UserType>, ProtocolError> {
    let mut parts: HashMap<u32, (String, Vec<String>)> = HashMap::new();
    for row in rows {
        let mut row = Row::new(row);
        let (oid, kind, detail) = (row.number()?, row.text()?, row.text()?);
        parts.entry(oid).or_insert_with(|| (kind, Vec::new())).1.push(detail);
    }
    let number = |detail: &String| detail.parse().map_err(|_| unreadable());
    let user_type = |(oid, (kind, details)): (u32, (String, Vec<String>))| {
        let user_type = match kind.as_str() {
            "e" => UserType::Enum(details.into_iter().map(Into::into).collect()),
            "c" => UserType::Composite(details.iter().map(number).collect::<Result<_, _>>()?),
            "a" => UserType::Array(details.first().map_or(Ok(0), number)?),
            "r" => UserType::Range,
            "m" => UserType::Multirange,
            _ => return Err(unreadable()),
        };
        Ok((oid, user_type))
    };
    parts.into_iter().map(user_type).collect()
}

/// Writes views' definitions to their relations; gives whether some are missing.
fn define(
    relations: &mut [Relation],
    rows: Vec<Vec<Option<String>>>,
) -> Result<bool, ProtocolError> {
    let mut definitions: HashMap<u32, Arc<str>> = HashMap::new();
    let mut incomplete = false;
    for row in rows {
        let mut row = Row::new(row);
        let oid = row.number()?;
        match row.optional() {
            Some(definition) => drop(definitions.insert(oid, definition.into())),
            None => incomplete = true,
        }
    }
    for relation in relations {
        relation.definition = definitions.remove(&relation.oid);
    }
    Ok(incomplete)
}

/// A row of text values, read from left to right.
struct Row(std::vec::IntoIter<Option<String>>);

fn unreadable() -> ProtocolError {
    ProtocolError::Resource("its catalog does not look as it should".into())
}

impl Row {
    fn new(values: Vec<Option<String>>) -> Self {
        Self(values.into_iter())
    }

    fn optional(&mut self) -> Option<String> {
        self.0.next().flatten()
    }

    fn text(&mut self) -> Result<String, ProtocolError> {
        self.optional().ok_or_else(unreadable)
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, ProtocolError> {
        self.text()?.parse().map_err(|_| unreadable())
    }

    fn flag(&mut self) -> Result<bool, ProtocolError> {
        Ok(self.text()? == "t")
    }
}

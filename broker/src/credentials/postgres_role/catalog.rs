//! What there is in a database that a role could be given: read in the transaction that makes the role.

use guard_core::ObjectName;
use guard_policy::Privileges;

use super::server::Server;
use crate::credentials::CredentialError;

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) schemas: Vec<Schema>,
    pub(super) relations: Vec<Relation>,
    /// Columns by relation, where a policy withholds some.
    pub(super) columns: Vec<Column>,
    /// Child and parent.
    pub(super) inherits: Vec<(i64, i64)>,
    pub(super) views: Vec<ViewUse>,
    /// Tables, and the sequences that their defaults use.
    pub(super) defaults: Vec<(i64, i64)>,
    /// Functions, where a policy names some.
    pub(super) routines: Vec<Routine>,
}

/// A schema.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) name: String,
    /// What the admin may grant: `U` usage, `C` create.
    pub(super) grantable: String,
}

/// A table, a view or a sequence.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) oid: i64,
    pub(super) name: ObjectName,
    pub(super) kind: RelationKind,
    /// What the admin may grant, in the letters of PostgreSQL's access control lists.
    pub(super) grantable: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelationKind {
    Table,
    View,
    Sequence,
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) relation: i64,
    pub(super) number: i32,
    pub(super) name: String,
}

/// What a view reads.
#[derive(Debug)]
pub(super) struct ViewUse {
    pub(super) view: i64,
    pub(super) relation: i64,
    /// The column, or 0: the relation as such.
    pub(super) column: i32,
    /// Whether a whole row of something is in the view's query.
    pub(super) whole_rows: bool,
}

/// A function.
#[derive(Debug)]
pub(super) struct Routine {
    pub(super) name: ObjectName,
    /// Its name and the types of its arguments, as the server writes them.
    pub(super) signature: String,
    pub(super) grantable: bool,
}

/// Schemas of users.
const USERS: &str = "n.nspname NOT IN ('pg_catalog', 'information_schema')
     AND n.nspname !~ '^pg_(toast|temp)'";

impl Catalog {
    pub(super) async fn read(
        server: &mut Server,
        needs: Privileges<'_>,
        version: i32,
    ) -> Result<Self, CredentialError> {
        let maintain = if version >= 170_000 {
            "|| CASE WHEN has_table_privilege(c.oid, 'MAINTAIN WITH GRANT OPTION') THEN 'm' ELSE '' END"
        } else {
            ""
        };
        let letter = |function: &str, privilege: &str, letter: &str| {
            format!(
                "CASE WHEN has_{function}_privilege(c.oid, '{privilege} WITH GRANT OPTION') \
                 THEN '{letter}' ELSE '' END"
            )
        };
        let of_tables: Vec<_> =
            [("SELECT", "r"), ("INSERT", "a"), ("UPDATE", "w"), ("DELETE", "d"), ("TRUNCATE", "D")]
                .map(|(privilege, name)| letter("table", privilege, name))
                .to_vec();
        let of_sequences: Vec<_> = [("SELECT", "r"), ("UPDATE", "w"), ("USAGE", "U")]
            .map(|(privilege, name)| letter("sequence", privilege, name))
            .to_vec();
        let relations: Vec<(i64, String, String, String, String)> = server
            .rows(&format!(
                "SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text,
                     CASE WHEN c.relkind = 'S' THEN {} ELSE {} {maintain} END
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND {USERS} ORDER BY 2, 3",
                of_sequences.join(" || "),
                of_tables.join(" || "),
            ))
            .await?;
        let relations =
            relations.into_iter().map(|(oid, schema, name, kind, grantable)| Relation {
                oid,
                name: ObjectName { schema: Some(schema.into()), name: name.into() },
                kind: match kind.as_str() {
                    "S" => RelationKind::Sequence,
                    "v" | "m" => RelationKind::View,
                    _ => RelationKind::Table,
                },
                grantable,
            });
        let schemas: Vec<(String, String)> = server
            .rows(&format!(
                "SELECT n.nspname::text,
                     CASE WHEN has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION') THEN 'U' ELSE '' END ||
                     CASE WHEN has_schema_privilege(n.oid, 'CREATE WITH GRANT OPTION') THEN 'C' ELSE '' END
                 FROM pg_namespace n WHERE {USERS} ORDER BY 1"
            ))
            .await?;
        let mut catalog = Self {
            schemas: schemas
                .into_iter()
                .map(|(name, grantable)| Schema { name, grantable })
                .collect(),
            relations: relations.collect(),
            defaults: server
                .rows(
                    "SELECT DISTINCT a.adrelid::int8, d.refobjid::int8
                     FROM pg_depend d JOIN pg_attrdef a ON a.oid = d.objid
                         JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
                     WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass",
                )
                .await?,
            ..Self::default()
        };
        if needs.withholds_any() {
            catalog.read_columns(server).await?;
        }
        if needs.names_functions() {
            let routines: Vec<(String, String, String, bool)> = server
                .rows(&format!(
                    "SELECT n.nspname::text, p.proname::text, p.oid::regprocedure::text,
                         has_function_privilege(p.oid, 'EXECUTE WITH GRANT OPTION')
                     FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                     WHERE {USERS} ORDER BY 1, 2, 3"
                ))
                .await?;
            let routines =
                routines.into_iter().map(|(schema, name, signature, grantable)| Routine {
                    name: ObjectName { schema: Some(schema.into()), name: name.into() },
                    signature,
                    grantable,
                });
            catalog.routines = routines.collect();
        }
        Ok(catalog)
    }

    /// What it takes to know by which ways a column can be read.
    async fn read_columns(&mut self, server: &mut Server) -> Result<(), CredentialError> {
        let columns: Vec<(i64, i32, String)> = server
            .rows(&format!(
                "SELECT a.attrelid::int8, a.attnum::int4, a.attname::text
                 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                     JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
                     AND {USERS} ORDER BY 1, 2"
            ))
            .await?;
        self.columns = columns
            .into_iter()
            .map(|(relation, number, name)| Column { relation, number, name })
            .collect();
        self.inherits =
            server.rows("SELECT inhrelid::int8, inhparent::int8 FROM pg_inherits").await?;
        // A whole row in an expression depends on no column: it stands in the stored query only.
        let views: Vec<(i64, i64, i32, bool)> = server
            .rows(
                "SELECT DISTINCT r.ev_class::int8, d.refobjid::int8, d.refobjsubid::int4,
                     r.ev_action::text LIKE '%:varattno 0 %'
                 FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                 WHERE r.ev_type = '1' AND d.refclassid = 'pg_class'::regclass
                     AND d.refobjid <> r.ev_class",
            )
            .await?;
        self.views = views
            .into_iter()
            .map(|(view, relation, column, whole_rows)| ViewUse {
                view,
                relation,
                column,
                whole_rows,
            })
            .collect();
        Ok(())
    }
}

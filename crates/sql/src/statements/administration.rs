//! Statements on privileges, roles, the server, its upkeep and replication.

use guard_core::{ObjectKind, Verb};
use pg_query::{NodeEnum as N, protobuf as pg};

use crate::analyzer::Analyzer;

impl Analyzer<'_> {
    /// Reads one of them and gives its command tag; `None` for any other statement.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds of statements are listed in full where this is called"
    )]
    pub(super) fn administer(&mut self, node: &N) -> Option<&'static str> {
        Some(match node {
            // Privileges and roles.
            N::GrantStmt(s) => {
                self.grant(s);
                if s.is_grant { "GRANT" } else { "REVOKE" }
            }
            N::AlterDefaultPrivilegesStmt(_) => self.other(Verb::Grant, "ALTER DEFAULT PRIVILEGES"),
            N::GrantRoleStmt(s) => {
                for role in &s.granted_roles {
                    if let Some(N::AccessPriv(role)) = &role.node {
                        self.bare(Verb::Role, ObjectKind::Role, &role.priv_name);
                        self.bare(Verb::Grant, ObjectKind::Role, &role.priv_name);
                    }
                }
                "GRANT ROLE"
            }
            N::CreateRoleStmt(s) => {
                self.bare(Verb::Create, ObjectKind::Role, &s.role);
                self.named(Verb::Role, ObjectKind::Role, &s.role, "CREATE ROLE")
            }
            N::AlterRoleStmt(s) => self.role(s.role.as_ref(), "ALTER ROLE"),
            N::AlterRoleSetStmt(s) => {
                self.draft.at(Verb::Config, ObjectKind::Role);
                self.role(s.role.as_ref(), "ALTER ROLE")
            }
            N::DropRoleStmt(s) => {
                for role in &s.roles {
                    if let Some(N::RoleSpec(role)) = &role.node {
                        self.bare(Verb::Drop, ObjectKind::Role, &role.rolename);
                        self.bare(Verb::Role, ObjectKind::Role, &role.rolename);
                    }
                }
                "DROP ROLE"
            }
            N::DropOwnedStmt(_) => {
                self.draft.at(Verb::Drop, ObjectKind::Other);
                self.draft.at(Verb::Grant, ObjectKind::Other);
                "DROP OWNED"
            }
            N::ReassignOwnedStmt(_) => self.other(Verb::Role, "REASSIGN OWNED"),

            // The server: databases, tablespaces, files, foreign data, configuration.
            N::CreatedbStmt(s) => {
                self.named(Verb::Create, ObjectKind::Database, &s.dbname, "CREATE DATABASE")
            }
            N::AlterDatabaseStmt(s) => {
                self.named(Verb::Alter, ObjectKind::Database, &s.dbname, "ALTER DATABASE")
            }
            N::AlterDatabaseRefreshCollStmt(_) => self.other(Verb::Alter, "ALTER DATABASE"),
            N::AlterDatabaseSetStmt(s) => {
                self.named(Verb::Config, ObjectKind::Database, &s.dbname, "ALTER DATABASE")
            }
            N::DropdbStmt(s) => {
                self.named(Verb::Drop, ObjectKind::Database, &s.dbname, "DROP DATABASE")
            }
            N::AlterSystemStmt(s) => {
                let name = s.setstmt.as_ref().map_or("all", |set| &set.name);
                self.named(Verb::Config, ObjectKind::Setting, name, "ALTER SYSTEM")
            }
            N::CreateTableSpaceStmt(s) => {
                self.draft.at(Verb::File, ObjectKind::Other);
                self.named(Verb::Create, ObjectKind::Other, &s.tablespacename, "CREATE TABLESPACE")
            }
            N::AlterTableSpaceOptionsStmt(s) => {
                self.named(Verb::Config, ObjectKind::Other, &s.tablespacename, "ALTER TABLESPACE")
            }
            N::DropTableSpaceStmt(s) => {
                self.named(Verb::Drop, ObjectKind::Other, &s.tablespacename, "DROP TABLESPACE")
            }
            N::CreateFdwStmt(s) => {
                self.foreign(Verb::Create, &s.fdwname, "CREATE FOREIGN DATA WRAPPER")
            }
            N::AlterFdwStmt(s) => {
                self.foreign(Verb::Alter, &s.fdwname, "ALTER FOREIGN DATA WRAPPER")
            }
            N::CreateForeignServerStmt(s) => {
                self.foreign(Verb::Create, &s.servername, "CREATE SERVER")
            }
            N::AlterForeignServerStmt(s) => {
                self.foreign(Verb::Alter, &s.servername, "ALTER SERVER")
            }
            N::CreateUserMappingStmt(s) => {
                self.foreign(Verb::Create, &s.servername, "CREATE USER MAPPING")
            }
            N::AlterUserMappingStmt(s) => {
                self.foreign(Verb::Alter, &s.servername, "ALTER USER MAPPING")
            }
            N::DropUserMappingStmt(s) => {
                self.foreign(Verb::Drop, &s.servername, "DROP USER MAPPING")
            }
            N::ImportForeignSchemaStmt(s) => {
                self.foreign(Verb::Create, &s.server_name, "IMPORT FOREIGN SCHEMA")
            }
            N::CheckPointStmt(_) => self.other(Verb::Maintain, "CHECKPOINT"),

            // Upkeep.
            N::VacuumStmt(s) => {
                let mut named = false;
                for node in &s.rels {
                    if let Some(N::VacuumRelation(rel)) = &node.node {
                        named = true;
                        self.range(Verb::Maintain, rel.relation.as_ref());
                    }
                }
                if !named {
                    self.draft.at(Verb::Maintain, ObjectKind::Table);
                }
                if s.is_vacuumcmd { "VACUUM" } else { "ANALYZE" }
            }
            N::ClusterStmt(s) => {
                // Rows lie in the index's order afterwards, whatever columns that is of.
                self.draft.test(None, guard_core::Test::Other);
                self.range(Verb::Maintain, s.relation.as_ref());
                "CLUSTER"
            }
            N::ReindexStmt(s) => {
                match &s.relation {
                    Some(var) => self.on_range(Verb::Maintain, var),
                    None => self.bare(Verb::Maintain, ObjectKind::Schema, &s.name),
                }
                "REINDEX"
            }
            N::RefreshMatViewStmt(s) => {
                if let Some(var) = &s.relation {
                    self.on_range(Verb::Maintain, var);
                    for target in self.range_targets(var) {
                        self.columns_of(&target);
                    }
                }
                "REFRESH MATERIALIZED VIEW"
            }

            // Replication.
            N::CreatePublicationStmt(s) => {
                self.replicates(Verb::Create, &s.pubname, "CREATE PUBLICATION")
            }
            N::AlterPublicationStmt(s) => {
                self.replicates(Verb::Alter, &s.pubname, "ALTER PUBLICATION")
            }
            N::CreateSubscriptionStmt(s) => {
                self.replicates(Verb::Create, &s.subname, "CREATE SUBSCRIPTION")
            }
            N::AlterSubscriptionStmt(s) => {
                self.replicates(Verb::Alter, &s.subname, "ALTER SUBSCRIPTION")
            }
            N::DropSubscriptionStmt(s) => {
                self.replicates(Verb::Drop, &s.subname, "DROP SUBSCRIPTION")
            }
            _ => return None,
        })
    }

    fn role(&mut self, role: Option<&pg::RoleSpec>, label: &'static str) -> &'static str {
        let name = role.map_or("all", |role| &role.rolename);
        self.named(Verb::Role, ObjectKind::Role, name, label)
    }

    fn foreign(&mut self, verb: Verb, name: &str, label: &'static str) -> &'static str {
        self.bare(Verb::Network, ObjectKind::Other, name);
        self.named(verb, ObjectKind::Other, name, label)
    }

    fn replicates(&mut self, verb: Verb, name: &str, label: &'static str) -> &'static str {
        self.bare(Verb::Replication, ObjectKind::Other, name);
        self.named(verb, ObjectKind::Other, name, label)
    }
}

//! The database side of a test's world.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use super::World;

/// A session that stays open, to hold a lock or to be ended by another. It ends with its value.
pub struct Session(Child);

impl World {
    /// Opens a session as superuser in the test's database and runs this in it; what it locks stays locked.
    pub fn session(&self, sql: &str) -> Session {
        self.session_as(&self.postgres.user, &self.postgres.password, sql)
    }

    /// The same as another login.
    pub fn session_as(&self, user: &str, password: &str, sql: &str) -> Session {
        let mut command = Command::new(self.postgres.tool("psql").unwrap());
        command.envs(self.postgres.env()).env("PGUSER", user).env("PGPASSWORD", password);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.database]);
        // What the server says when it ends a session is no output of the test.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{sql};\n\\echo ready").unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"), "the session did what it was opened for: {sql}");
        Session(child)
    }
}

impl Session {
    /// True when the server has ended the session.
    pub fn is_ended(&mut self) -> bool {
        // psql notices at its next statement, and goes then.
        let _ = writeln!(self.0.stdin.as_mut().unwrap(), "SELECT 1;");
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Not killed, so that the server need not notice: psql ends with its input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl World {
    /// A database that belongs to a login which may make roles.
    pub fn make_database(&self, name: &str, login: &str) {
        self.sql_in("postgres", &format!("CREATE ROLE {login} LOGIN CREATEROLE PASSWORD 'pw'"));
        self.sql_in("postgres", &format!("CREATE DATABASE {name} OWNER {login}"));
    }

    /// Runs SQL as superuser in the test's database; returns what `psql -At` prints.
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in(&self.database, sql)
    }

    /// Runs SQL as superuser in any database of the server.
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        self.postgres.psql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}")).trim_end().to_owned()
    }

    /// Runs SQL as a role of the tenant, such as `owner`.
    pub fn sql_as(&self, schema: &str, role: &str, sql: &str) -> String {
        let role = self.tenant_role(schema, role);
        let out = self.sql(&format!("SET ROLE {role}; {sql}"));
        out.strip_prefix("SET").unwrap_or(&out).trim_start().to_owned()
    }

    /// The name of a tenant's role.
    pub fn tenant_role(&self, schema: &str, role: &str) -> String {
        let id = self.sql(&format!(
            "SELECT right(id::text, 12) FROM edu_matrix_hub_schema.tenant_schemas \
             WHERE schema_name = '{schema}' AND status <> 'dropped'"
        ));
        format!("\"{schema}_{id}_{role}\"")
    }

    /// Whether a role may use a schema, by itself or as a member of others.
    pub fn may_use(&self, role: &str, schema: &str) -> bool {
        self.sql(&format!("SELECT has_schema_privilege('{role}'::regrole, '{schema}', 'USAGE')")) == "t"
    }

    /// How many roles there are that were made for the newest tenant of this schema.
    pub fn count_roles(&self, schema: &str) -> String {
        self.sql(&format!(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE '%\\_' || (SELECT right(id::text, 12) \
             FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = '{schema}' \
             ORDER BY created_at DESC LIMIT 1) || '\\_%'"
        ))
    }

    /// What the catalogue has of the living tenants: namespace, name, and how many tables.
    pub fn table_counts(&self) -> Option<Vec<(String, String, i32)>> {
        let rows = self.postgres.psql(
            &self.database,
            "SELECT t.owner_namespace, t.owner_name, count(c.oid) FROM edu_matrix_hub_schema.tenant_schemas AS t \
             JOIN pg_namespace AS n ON n.nspname = t.schema_name \
             LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p') \
             WHERE t.status IN ('active', 'suspended') AND t.owner_name IS NOT NULL AND NOT t.taken_over GROUP BY 1, 2",
        );
        let row = |line: &str| {
            let mut parts = line.split('|').map(str::to_owned);
            Some((parts.next()?, parts.next()?, parts.next()?.parse().ok()?))
        };
        rows.ok()?.lines().map(row).collect()
    }

    /// Whether there is a schema of this name.
    pub fn stands(&self, schema: &str) -> bool {
        self.sql(&format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'")) == "1"
    }

    /// The schemas of the test's database whose name begins so, one a line.
    pub fn schemas(&self, prefix: &str) -> Vec<String> {
        let list = self.sql(&format!(
            "SELECT nspname FROM pg_namespace \
             WHERE starts_with(nspname, '{prefix}') AND nspname <> 'edu_matrix_hub_schema' ORDER BY 1"
        ));
        list.lines().map(str::to_owned).collect()
    }

    /// Removes a database, the roles of its tenants and keepers, and its own.
    pub fn drop_database(&self, name: &str) {
        self.drop_database_of(name, &self.owner_role());
        self.sql_in("postgres", &format!("DROP ROLE IF EXISTS \"{}\"", self.login()));
    }

    /// The same of a database with this owner role, without its login.
    pub fn drop_database_of(&self, name: &str, owner: &str) {
        let [operator, admin] = ["_operator", "_admin"].map(|suffix| owner.replace("_owner", suffix));
        let of_tenants = if self.sql_in(name, "SELECT to_regclass('edu_matrix_hub_schema.tenant_schemas')").is_empty() {
            String::new()
        } else {
            self.sql_in(
                name,
                "SELECT rolname FROM pg_roles AS r WHERE EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t \
                 WHERE rolname ~ ('_' || right(t.id::text, 12) || '_(owner|reader|writer|(app|mig)_[ab])$'))",
            )
        };
        self.sql_in("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        let stem = owner.trim_end_matches("_owner");
        let keepers = self.sql_in(
            "postgres",
            &format!(
                "SELECT rolname FROM pg_roles WHERE rolname LIKE '{owner}\\_k%' OR rolname LIKE '{stem}\\_connect\\_%'"
            ),
        );
        let all = of_tenants.lines().chain(keepers.lines()).chain([owner, &operator, &admin]);
        for role in all {
            self.sql_in("postgres", &format!("DROP ROLE IF EXISTS \"{role}\""));
        }
    }
}

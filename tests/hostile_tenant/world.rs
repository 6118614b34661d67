//! A hostile tenant, its neighbour, what must not change, and how an attempt is made.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::RwLock;
use tokio_postgres::{Client, error::SqlState};

use crate::{
    application::Application,
    support::{Database, Lane, Tenant, call, expect, surveyed, with_database},
};

/// The password of the hostile tenant's login.
pub const PASSWORD: &str = "given in its Secret";

/// As whom an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The login that the operator issued for the tenant's applications.
    Login,
    /// A login that acts as the tenant's owner role, made by hand.
    Owner,
    /// The login that the operator issued for the tenant's migrations.
    Migration,
    /// The login that the operator issued for the neighbour's applications.
    Neighbour,
    /// The role that owned a schema before it was adopted.
    Former,
}

/// How it must end.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// The server refuses it with one of these states.
    Refused(&'static [&'static str]),
    /// It is done and changes nothing for anybody else; what it must not see, it looks for itself and fails if it does.
    Nothing,
    /// It is done and is a nuisance; the text says what bounds it.
    Nuisance(&'static str),
}

/// One line of a table.
#[derive(Debug)]
pub struct Attempt {
    pub name: &'static str,
    pub by: By,
    pub statements: &'static str,
    pub expected: Expected,
}

/// No right to it.
pub const REFUSED: Expected = Expected::Refused(&["42501"]);

/// An attempt as the tenant's login.
pub const fn login(name: &'static str, statements: &'static str, expected: Expected) -> Attempt {
    Attempt { name, by: By::Login, statements, expected }
}

/// An attempt as the tenant's owner role.
pub const fn owner(name: &'static str, statements: &'static str, expected: Expected) -> Attempt {
    Attempt { name, by: By::Owner, statements, expected }
}

/// An attempt as the login for the tenant's migrations.
pub const fn migration(name: &'static str, statements: &'static str, expected: Expected) -> Attempt {
    Attempt { name, by: By::Migration, statements, expected }
}

/// An attempt as the neighbour's login, against the hostile tenant.
pub const fn neighbour(name: &'static str, statements: &'static str, expected: Expected) -> Attempt {
    Attempt { name, by: By::Neighbour, statements, expected }
}

/// An attempt as who owned a schema that was adopted.
pub const fn former(name: &'static str, statements: &'static str, expected: Expected) -> Attempt {
    Attempt { name, by: By::Former, statements, expected }
}

/// Rows, numbers and rights of the tenant itself, while it may write none.
const OWN: &str = "SELECT jsonb_object_agg(c.relname, jsonb_build_array(c.relacl::text, CASE c.relkind
        WHEN 'S' THEN pg_sequence_last_value(c.oid)::text
        WHEN 'r' THEN (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM school.%I', c.relname),
                                                           false, true, '')))[1]::text END))
    FROM pg_class AS c WHERE c.relnamespace = 'school'::regnamespace";

/// Everything that no attempt may change: the neighbours' rows, what is set aside and copied, the registry, and all roles,
/// memberships, owners and rights. A tenant's own logins may have another password and other defaults.
const UNTOUCHED: &str = "SELECT jsonb_build_object(
    'rows', (SELECT jsonb_agg(p ORDER BY p.id) FROM college.pupils AS p),
    'given', (SELECT jsonb_build_array(
                  (SELECT jsonb_agg(b ORDER BY b.id) FROM library.books AS b), (SELECT jsonb_agg(l) FROM library.lent AS l),
                  (SELECT jsonb_agg(l) FROM library.loans AS l), (SELECT jsonb_agg(s ORDER BY s.user_id) FROM library.shelf AS s),
                  (SELECT jsonb_agg(jsonb_build_array(c.relname, c.relowner::regrole, c.relacl::text, c.relrowsecurity, c.relnatts)
                                    ORDER BY c.relname) FROM pg_class AS c WHERE c.relnamespace = 'library'::regnamespace),
                  (SELECT jsonb_agg(p ORDER BY p.policyname) FROM pg_policies AS p WHERE p.schemaname = 'library'),
                  (SELECT jsonb_agg(g ORDER BY to_jsonb(g)::text) FROM edu_matrix_hub_schema.tenant_grants AS g))),
    'shared', (SELECT jsonb_agg(s ORDER BY s.id) FROM public.shared AS s),
    'tenants', (SELECT jsonb_agg(jsonb_build_array(t.schema_name, t.status, t.access, t.logins, t.login_oids::text, t.schema_oid,
                                                   t.owner_role, t.owner_role_oid, t.quota_limit, t.config) ORDER BY t.id)
                FROM edu_matrix_hub_schema.tenant_schemas AS t),
    'installation', (SELECT jsonb_build_array(i.installation_id, i.epoch, i.owner_role, i.cluster, i.holder)
                     FROM edu_matrix_hub_schema.installation AS i),
    'credentials', (SELECT jsonb_agg(c ORDER BY c.schema_id) FROM edu_matrix_hub_schema.tenant_credentials AS c),
    'backups', (SELECT jsonb_agg(jsonb_build_array(b.location, b.state, b.row_count) ORDER BY b.id)
                FROM edu_matrix_hub_schema.schema_backups AS b),
    'functions', (SELECT md5(string_agg(p.proname || p.xmin::text || p.proacl::text, ',' ORDER BY p.oid))
                  FROM pg_proc AS p WHERE p.pronamespace = 'edu_matrix_hub_schema'::regnamespace),
    'schemas', (SELECT jsonb_agg(jsonb_build_array(n.nspname, n.nspowner::regrole, n.nspacl::text) ORDER BY n.nspname)
                FROM pg_namespace AS n WHERE n.nspname !~ '^pg_'),
    'database', (SELECT jsonb_build_array(d.datdba::regrole, d.datacl::text) FROM pg_database AS d
                 WHERE d.datname = current_database()),
    'databases', (SELECT count(*) FROM pg_database AS d WHERE d.datname ~ 'stolen'),
    'roles', (SELECT jsonb_agg(jsonb_build_array(r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
                                                 r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil)
                               ORDER BY r.oid)
              FROM pg_roles AS r
              WHERE starts_with(r.rolname, current_database()) OR r.rolname ~ 'stolen' OR EXISTS (
                  SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                  WHERE r.oid = ANY (t.login_oids || ARRAY[t.owner_role_oid, t.reader_role_oid, t.writer_role_oid]))),
    'members', (SELECT jsonb_agg(jsonb_build_array(m.roleid::regrole, m.member::regrole, m.admin_option)
                                 ORDER BY m.roleid, m.member)
                FROM pg_auth_members AS m CROSS JOIN edu_matrix_hub_schema.tenant_schemas AS t
                WHERE ARRAY[m.roleid, m.member]
                      && (t.login_oids || ARRAY[t.owner_role_oid, t.reader_role_oid, t.writer_role_oid])),
    'outside', (SELECT jsonb_build_array(count(*) FILTER (WHERE p.evtname IS NOT NULL), (SELECT count(*) FROM pg_publication),
                                         (SELECT count(*) FROM pg_foreign_data_wrapper), (SELECT count(*) FROM pg_cast),
                                         (SELECT count(*) FROM pg_language), (SELECT count(*) FROM pg_extension),
                                         (SELECT count(*) FROM pg_subscription))
                FROM pg_event_trigger AS p))";

/// The ground of a table of attempts.
pub struct World {
    pub database: Arc<Database>,
    /// Who tries.
    pub hostile: Tenant,
    /// Who must not notice.
    pub victim: Tenant,
    /// The login that the operator issued for the hostile tenant, and its neighbour's.
    pub login: String,
    pub their_login: String,
    /// A login of the hostile tenant that acts as its owner role.
    pub migrator: String,
    /// The login that the operator issued for its migrations.
    pub migration: String,
    /// Who owned a schema that was adopted.
    pub former: String,
    pub lane: Lane,
    pub names: Vec<(&'static str, String)>,
    /// The tenant's own rows may not change either.
    pub is_watched: bool,
}

impl World {
    /// Both tenants with rows, a snapshot-like and a set-aside schema, a table for all, and a lane that is held.
    pub async fn new(database: Arc<Database>) -> Self {
        let hostile = database.tenant("school").await;
        let victim = database.tenant("college").await;
        let gone = database.tenant("gone").await;
        for tenant in [&hostile, &victim, &gone] {
            let table = "CREATE TABLE pupils (id serial PRIMARY KEY, name text CHECK (name <> '')); \
                         INSERT INTO pupils (name) SELECT 'secret ' || n FROM generate_series(1, 3) AS n; \
                         CREATE FUNCTION greet() RETURNS text LANGUAGE sql AS 'SELECT ''a secret body'''; \
                         COMMENT ON TABLE pupils IS 'of the tenant'";
            database.as_owner(tenant, table).await;
        }
        let giver = giver(&database, &hostile).await;
        let shared = "CREATE TABLE public.shared (id int PRIMARY KEY); INSERT INTO public.shared VALUES (1); \
                      GRANT SELECT, REFERENCES ON public.shared TO PUBLIC";
        database.admin.batch_execute(shared).await.unwrap();
        let login = Application::of(&database, &hostile).await.issued(PASSWORD).await;
        let their_login = Application::of(&database, &victim).await.issued("another").await;
        let migration = Application::migrating(&database, &hostile).await.issued(PASSWORD).await;
        let migrator = format!("{}_migrator", database.name);
        database.declare_login(&hostile, &migrator, &hostile.owner).await;
        let lane = Lane::claim(database.operator().await).await;
        let aside = gone.options(&json!({ "owner_uid": "uid-gone" }));
        let aside = call(&lane.client, "set_aside_tenant_schema", &aside).await;
        expect(&aside, "success");
        let number = async |sql: &str| database.one::<String>(sql).await;
        let names = vec![
            ("{database}", database.name.clone()),
            ("{login}", login.clone()),
            ("{owner}", hostile.owner.clone()),
            ("{reader}", hostile.reader.clone()),
            ("{writer}", hostile.writer.clone()),
            ("{their_login}", their_login.clone()),
            ("{their_owner}", victim.owner.clone()),
            ("{their_reader}", victim.reader.clone()),
            ("{their_writer}", victim.writer.clone()),
            ("{their_id}", victim.id.to_string()),
            ("{migration}", migration.clone()),
            ("{giver_owner}", giver.owner.clone()),
            ("{giver_reader}", giver.reader.clone()),
            ("{giver_writer}", giver.writer.clone()),
            ("{aside}", number("SELECT location FROM edu_matrix_hub_schema.schema_backups").await),
            ("{their_table}", number("SELECT 'college.pupils'::regclass::oid::text").await),
            ("{their_sequence}", number("SELECT 'college.pupils_id_seq'::regclass::oid::text").await),
            ("{their_function}", number("SELECT 'college.greet'::regproc::oid::text").await),
            ("{entry}", number("SELECT connect_role_oid::regrole::text FROM edu_matrix_hub_schema.installation").await),
            ("{operator}", database.operator_role()),
            ("{admin}", database.admin_role()),
            ("{keeper}", database.owner_role.clone()),
            ("{operator_pid}", {
                let row = lane.client.query_one("SELECT pg_backend_pid()::text", &[]).await.unwrap();
                row.get(0)
            }),
        ];
        lane.survey(false).await;
        Self {
            database,
            hostile,
            victim,
            login,
            their_login,
            migrator,
            migration,
            lane,
            names,
            former: String::new(),
            is_watched: false,
        }
    }

    /// The statements with the names of this world.
    pub fn filled(&self, statements: &str) -> String {
        self.names.iter().fold(statements.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// A session as the one or the other.
    pub async fn session(&self, by: By) -> Client {
        match by {
            By::Login => self.database.log_in(&self.login, PASSWORD).await.unwrap(),
            By::Migration => self.database.log_in(&self.migration, PASSWORD).await.unwrap(),
            By::Neighbour => self.database.log_in(&self.their_login, "another").await.unwrap(),
            By::Former => self.database.connect(&self.former).await,
            By::Owner => {
                let session = self.database.connect(&self.migrator).await;
                let become_owner = format!("SET ROLE {}; SET search_path = school", self.hostile.owner);
                session.batch_execute(&become_owner).await.unwrap();
                session
            }
        }
    }

    /// What no attempt may change.
    pub async fn untouched(&self) -> Value {
        let mut found: Value = self.database.one(UNTOUCHED).await;
        if self.is_watched {
            found["own"] = self.database.one(OWN).await;
        }
        found
    }

    /// Makes an attempt and says what was not as it must be; `before` is what was before, and becomes what is.
    async fn make(&self, attempt: &Attempt, before: &mut Value) -> Option<String> {
        let outcome = self.session(attempt.by).await.batch_execute(&self.filled(attempt.statements)).await;
        let complaint = match (attempt.expected, &outcome) {
            (Expected::Refused(states), Err(error)) => {
                let state = error.code().map(SqlState::code).unwrap_or_default();
                (!states.contains(&state)).then(|| format!("refused otherwise: {error:?}"))
            }
            (Expected::Refused(_), Ok(())) => Some("was done".to_owned()),
            (Expected::Nothing | Expected::Nuisance(_), Ok(())) => None,
            (_, Err(error)) => Some(format!("{error:?}")),
        };
        let after = self.untouched().await;
        let changed = (*before != after).then(|| format!("{before}\nbecame\n{after}"));
        *before = after;
        complaint
            .into_iter()
            .chain(changed)
            .map(|text| format!("{}: {text}", attempt.name))
            .reduce(|a, b| a + "\n" + &b)
    }

    /// The operator works as before, finds no hole, and puts right what the tenant did to its own logins.
    pub async fn still_works(&self) {
        for tenant in [&self.hostile, &self.victim] {
            // A part of a large tenant at a time.
            for _ in 0..20 {
                let answer = call(&self.lane.client, "repair_tenant_schema", &tenant.options(&json!({}))).await;
                if answer["status"] == "unchanged" {
                    break;
                }
            }
        }
        let answer = self.lane.survey(true).await;
        for tenant in [&self.hostile, &self.victim] {
            let row = surveyed(&answer, tenant).unwrap_or_else(|| panic!("{answer}"));
            assert_eq!(
                (&row["drift"], &row["isolation"], &row["schema_exists"]),
                (&json!([]), &json!([]), &json!(true))
            );
        }
        let rows: i64 = self.database.one("SELECT count(*) FROM college.pupils").await;
        assert_eq!(rows, 3);
    }
}

/// What a test does to all sessions of the server it does while no other test is at work.
static SERVER: RwLock<()> = RwLock::const_new(());

/// Runs a test in a world of its own, and no other meanwhile.
pub async fn alone<F>(test: impl FnOnce(World) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let _alone = SERVER.write().await;
    with_database(async |database| test(World::new(database).await).await).await;
}

/// Runs a test in a world of its own.
pub async fn with_world<F>(test: impl FnOnce(World) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let _together = SERVER.read().await;
    with_database(async |database| test(World::new(database).await).await).await;
}

impl World {
    /// Makes all attempts of some tables.
    pub async fn try_all(&self, tables: &[&[Attempt]]) {
        let mut complaints = Vec::new();
        let mut before = self.untouched().await;
        for attempt in tables.iter().flat_map(|table| *table) {
            complaints.extend(self.make(attempt, &mut before).await);
        }
        assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    }
}

/// Makes all attempts of some tables in a world of their own.
pub async fn attempts(tables: &'static [&'static [Attempt]]) {
    with_world(async move |world| {
        world.try_all(tables).await;
        world.still_works().await;
    })
    .await;
}

/// A neighbour that gives the hostile tenant something, had given it more, and shows of one table the rows of a user; and
/// a table of the hostile tenant's own that shows no more.
async fn giver(database: &Database, hostile: &Tenant) -> Tenant {
    let giver = database.tenant("library").await;
    let tables = "CREATE TABLE books (id int PRIMARY KEY, title text); CREATE TABLE lent (id int); CREATE TABLE loans (id int); \
                  CREATE TABLE notes (id serial, note text); CREATE TABLE shelf (user_id int, title text); \
                  INSERT INTO books VALUES (1, 'one'), (2, 'two'); INSERT INTO lent VALUES (1); INSERT INTO loans VALUES (1); \
                  INSERT INTO shelf VALUES (7, 'of ann'), (8, 'of bob'); \
                  CREATE FUNCTION greet() RETURNS int LANGUAGE sql AS 'SELECT 7'";
    database.as_owner(&giver, tables).await;
    let profiles = "CREATE TABLE profiles (id int PRIMARY KEY, user_id int, name text); \
                    INSERT INTO profiles VALUES (1, 7, 'ann'), (2, 8, 'bob'); CREATE STATISTICS profiles_s ON user_id, name FROM profiles";
    database.as_owner(hostile, profiles).await;
    database.admin.batch_execute("ANALYZE school.profiles, library.shelf").await.unwrap();
    let operator = database.operator().await;
    let to = |privileges: &[&str], tables: &[&str]| json!({ "namespace": "team-a", "name": "school", "privileges": privileges, "tables": tables });
    let stays = [to(&["Read"], &["books", "shelf"]), to(&["Read", "Write"], &["notes"])];
    for grants in [json!([stays[0], stays[1], to(&["Read"], &["lent"])]), json!(stays)] {
        expect(&call(&operator, "set_tenant_grants", &giver.options(&json!({ "grants": grants }))).await, "success");
    }
    let policies = json!([{ "name": "own", "column": "user_id", "setting": "app.user_id" }]);
    for tenant in [&giver, hostile] {
        let options = tenant.options(&json!({ "mode": "Required", "policies": policies, "digest": "1" }));
        while call(&operator, "set_row_security", &options).await["status"] == "partial" {}
    }
    giver
}

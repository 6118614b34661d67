//! A server for this process, and a database with its own roles for each test.

use std::{
    panic::resume_unwind,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use devcluster::{PostgresInfo, PostgresOptions, PostgresServer, PostgresVersion, shared};
use serde_json::{Value, json};
use tenant_schema_operator::{
    ident::Ident,
    postgres::script::{Form, script},
};
use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

const PASSWORD: &str = "only on loopback";

/// The server: of the wanted major version, or the shared cluster's when the test run has one.
static SERVER: LazyLock<PostgresInfo> = LazyLock::new(|| {
    if std::env::var_os("POSTGRES_MAJOR").is_none() && std::env::var_os("DEVCLUSTER_DIR").is_some() {
        return shared().unwrap().postgres().clone();
    }
    OWN.info().clone()
});

/// A server of this process, which ends with it.
static OWN: LazyLock<PostgresServer> = LazyLock::new(|| {
    let version = std::env::var("POSTGRES_MAJOR").map_or(PostgresVersion::Newest, |major| major.parse().unwrap());
    PostgresServer::start(PostgresOptions { version, ..PostgresOptions::default() }).unwrap()
});

/// A database of one test.
pub struct Database {
    /// Its name, and what the names of all its roles begin with.
    pub name: String,
    /// The role that owns registry and functions.
    pub owner_role: String,
    /// A superuser's connection.
    pub admin: Client,
}

/// Runs a test with an installed database, made by a superuser.
pub async fn with_database<F>(test: impl FnOnce(Arc<Database>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    run(Database::create(None).await, true, test).await;
}

/// Runs a test with a database in which nothing is installed.
pub async fn with_bare_database<F>(test: impl FnOnce(Arc<Database>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    run(Database::create(None).await, false, test).await;
}

/// Runs a test with a database whose owner role is that of another.
pub async fn with_database_beside<F>(other: &Database, test: impl FnOnce(Arc<Database>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    run(Database::create(Some(other.owner_role.clone())).await, true, test).await;
}

async fn run<F>(database: Database, install: bool, test: impl FnOnce(Arc<Database>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    if install {
        database.install("postgres", Form::Printed).await.unwrap();
    }
    let database = Arc::new(database);
    let outcome = tokio::spawn(test(Arc::clone(&database))).await;
    database.remove().await;
    if let Err(failure) = outcome {
        resume_unwind(failure.into_panic());
    }
}

/// How to reach the server.
pub fn server() -> &'static PostgresInfo {
    &SERVER
}

/// True on the versions that have role keepers.
pub fn has_keepers() -> bool {
    SERVER.major() >= 16
}

async fn connect(database: &str, user: &str) -> Result<Client, tokio_postgres::Error> {
    connect_with(database, user, if user == SERVER.user { &SERVER.password } else { PASSWORD }).await
}

async fn connect_with(database: &str, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
    connect_by(database, user, password, "").await
}

async fn connect_by(
    database: &str,
    user: &str,
    password: &str,
    options: &str,
) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = Config::new()
        .options(options)
        .host_path(&SERVER.socket_dir)
        .port(SERVER.port)
        .user(user)
        .password(password)
        .dbname(database)
        .connect(NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

impl Database {
    async fn create(owner_role: Option<String>) -> Self {
        let name = format!("t{}", &Uuid::new_v4().simple().to_string()[..12]);
        let server = connect("postgres", &SERVER.user).await.unwrap();
        server.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let admin = connect(&name, &SERVER.user).await.unwrap();
        Self { owner_role: owner_role.unwrap_or_else(|| format!("{name}_owner")), name, admin }
    }

    /// An empty database on the same server, with the same owner role.
    pub async fn beside(other: &Self) -> Self {
        Self::create(Some(other.owner_role.clone())).await
    }

    /// The database, connected again, and a copy that was made from it as a template. No other may be connected to it; a
    /// session that was given up ends a moment later.
    pub async fn copied(self) -> (Self, Self) {
        let Self { name, owner_role, admin } = self;
        drop(admin);
        let server = connect("postgres", &SERVER.user).await.unwrap();
        let copy = format!("{name}_copy");
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = server.batch_execute(&format!("CREATE DATABASE {copy} TEMPLATE {name}")).await {
            assert!(Instant::now() < deadline, "{error:?}");
        }
        let admin = connect(&name, &SERVER.user).await.unwrap();
        let beside = connect(&copy, &SERVER.user).await.unwrap();
        (Self { owner_role: owner_role.clone(), name, admin }, Self { owner_role, name: copy, admin: beside })
    }

    /// Drops the database, and none of its roles.
    pub async fn drop_alone(&self) {
        let server = connect("postgres", &SERVER.user).await.unwrap();
        server.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.unwrap();
    }

    /// Removes the database and every role that was made for it.
    pub async fn remove(&self) {
        let mut roles = Vec::new();
        for query in [
            "SELECT unnest(t.logins || ARRAY[t.owner_role, t.reader_role, t.writer_role, \
                edu_matrix_hub_schema._deleter_name(t)]) FROM \
                edu_matrix_hub_schema.tenant_schemas AS t",
            "SELECT unnest(ARRAY[a.owner_role, a.reader_role, a.writer_role]) FROM edu_matrix_hub_schema.tenant_adoptions AS a",
            "SELECT k.role_name FROM edu_matrix_hub_schema.role_keepers AS k ORDER BY k.parent IS NULL",
        ] {
            if let Ok(rows) = self.admin.query(query, &[]).await {
                roles.extend(rows.iter().map(|row| row.get::<_, String>(0)));
            }
        }
        let rows = self
            .admin
            .query(
                "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, $1) ORDER BY rolname",
                &[&self.name],
            )
            .await
            .unwrap();
        roles.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        let server = connect("postgres", &SERVER.user).await.unwrap();
        server.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await.unwrap();
        // A role that gave memberships goes after those whom it gave them; the order takes a few rounds to find.
        for _ in 0..4 {
            for role in &roles {
                let _ = server.batch_execute(&format!("DROP ROLE IF EXISTS \"{role}\"")).await;
            }
        }
    }

    /// A connection as some role.
    pub async fn connect(&self, user: &str) -> Client {
        self.try_connect(user).await.unwrap()
    }

    /// A connection as some role, if it may come in.
    pub async fn try_connect(&self, user: &str) -> Result<Client, tokio_postgres::Error> {
        connect(&self.name, user).await
    }

    /// A connection of the operator's login to another database.
    pub async fn operator_in(&self, database: &str) -> Client {
        connect(database, &format!("{}_op", self.name)).await.unwrap()
    }

    /// A connection with this password, if it may come in.
    pub async fn log_in(&self, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
        connect_with(&self.name, user, password).await
    }

    /// The same with options for the server, such as a client may send.
    pub async fn log_in_by(&self, user: &str, password: &str, options: &str) -> Result<Client, tokio_postgres::Error> {
        connect_by(&self.name, user, password, options).await
    }

    /// The same in another database of the server, which everybody may enter.
    pub async fn log_in_elsewhere(&self, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
        connect_with("postgres", user, password).await
    }

    /// The verifier of a password, as the server itself makes it.
    pub async fn verifier(&self, password: &str) -> String {
        let role = self.role(&format!("v{}", Uuid::new_v4().simple()), "NOLOGIN").await;
        self.admin.batch_execute(&format!("ALTER ROLE {role} PASSWORD '{password}'")).await.unwrap();
        let verifier = self.one(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")).await;
        self.admin.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
        verifier
    }

    /// A new role, with the database's name in front so that it goes with the database.
    pub async fn role(&self, suffix: &str, attributes: &str) -> String {
        let role = format!("{}_{suffix}", self.name);
        self.admin.batch_execute(&format!("CREATE ROLE {role} {attributes} PASSWORD '{PASSWORD}'")).await.unwrap();
        role
    }

    /// Gives a role a password and lets it log in.
    pub async fn let_in(&self, role: &str) {
        self.admin.batch_execute(&format!("ALTER ROLE \"{role}\" LOGIN PASSWORD '{PASSWORD}'")).await.unwrap();
    }

    /// Makes a login of the tenant in this group, as the operator will: through the role that keeps its roles.
    pub async fn declare_login(&self, tenant: &Tenant, name: &str, group: &str) {
        let keeper = format!("(SELECT keeper FROM edu_matrix_hub_schema.tenant_schemas WHERE id = '{}')", tenant.id);
        let statements = format!(
            "SET ROLE {owner}; SELECT edu_matrix_hub_schema._role_command({keeper}, 'create', ARRAY['{name}']); \
             SELECT edu_matrix_hub_schema._role_command({keeper}, 'join', ARRAY['{name}'], '{group}'); RESET ROLE; \
             UPDATE edu_matrix_hub_schema.tenant_schemas SET logins = array_append(logins, '{name}') WHERE id = '{id}'",
            owner = self.owner_role,
            id = tenant.id,
        );
        self.admin.batch_execute(&statements).await.unwrap();
        self.let_in(name).await;
    }

    /// A connection as a login that has nothing but membership in the operator role, as an operator's.
    pub async fn operator(&self) -> Client {
        self.member("op", &self.operator_role()).await
    }

    /// A connection as a login that has nothing but membership in a role; the login is made when it is wanted first.
    pub async fn member(&self, suffix: &str, role: &str) -> Client {
        let login = format!("{}_{suffix}", self.name);
        if self.admin.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&login]).await.unwrap().is_none() {
            self.role(suffix, "LOGIN").await;
            self.admin.batch_execute(&format!("GRANT {role} TO {login}")).await.unwrap();
        }
        self.connect(&login).await
    }

    /// The name of the admin role.
    pub fn admin_role(&self) -> String {
        format!("{}_admin", self.owner_role.trim_end_matches("_owner"))
    }

    /// The name of the operator role.
    pub fn operator_role(&self) -> String {
        format!("{}_operator", self.owner_role.trim_end_matches("_owner"))
    }

    /// Installs as some login.
    pub async fn install(&self, login: &str, form: Form) -> Result<(), tokio_postgres::Error> {
        let client =
            if login == "postgres" { connect(&self.name, &SERVER.user).await } else { self.try_connect(login).await };
        client.unwrap().batch_execute(&script(&Ident::new(&self.owner_role).unwrap(), form)).await
    }

    /// Inserts an institution.
    pub async fn institution(&self) -> Uuid {
        let id = Uuid::new_v4();
        self.admin.execute("INSERT INTO edu_matrix_hub_schema.institutions (id) VALUES ($1)", &[&id]).await.unwrap();
        id
    }

    /// Creates a tenant that belongs to a TenantSchema of its name.
    pub async fn tenant(&self, schema_name: &str) -> Tenant {
        let answer = call(&self.admin, "create_tenant_schema", &tenant_options(schema_name)).await;
        assert_eq!(answer["status"], "success", "{answer}");
        self.tenant_of(&answer).await
    }

    /// The tenant of an answer.
    pub async fn tenant_of(&self, answer: &Value) -> Tenant {
        let id: Uuid = answer["schema_id"].as_str().unwrap().parse().unwrap();
        let row = self
            .admin
            .query_one(
                "SELECT schema_name, owner_role, reader_role, writer_role FROM \
                    edu_matrix_hub_schema.tenant_schemas WHERE id = $1",
                &[&id],
            )
            .await
            .unwrap();
        Tenant { id, schema: row.get(0), owner: row.get(1), reader: row.get(2), writer: row.get(3) }
    }

    /// Runs statements as the owner of a tenant.
    pub async fn as_owner(&self, tenant: &Tenant, statements: &str) {
        let text = format!(
            "BEGIN; SET LOCAL ROLE \"{}\"; SET LOCAL search_path = \"{}\"; {statements}; COMMIT",
            tenant.owner, tenant.schema
        );
        self.admin.batch_execute(&text).await.unwrap();
    }

    /// One value of a query by the superuser.
    pub async fn one<T>(&self, query: &str) -> T
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        self.admin.query_one(query, &[]).await.unwrap().get(0)
    }

    /// The grants on a schema, as the catalogue keeps them.
    pub async fn acl(&self, schema: &str) -> String {
        self.one(&format!(
            "SELECT coalesce(nspacl, acldefault('n', nspowner))::text FROM pg_namespace WHERE nspname = '{schema}'"
        ))
        .await
    }

    /// Memberships of the owner role that would outlive the step that needed them.
    pub async fn standing_memberships(&self) -> i64 {
        self.one(&format!(
            "SELECT count(*) FROM pg_auth_members AS m WHERE m.member = '{}'::regrole AND NOT m.admin_option",
            self.owner_role
        ))
        .await
    }
}

/// A tenant and its roles.
pub struct Tenant {
    /// Its id.
    pub id: Uuid,
    /// Its schema.
    pub schema: String,
    /// The role that owns it.
    pub owner: String,
    /// The group that may read.
    pub reader: String,
    /// The group that may write.
    pub writer: String,
}

impl Tenant {
    /// Options of a call about this tenant.
    pub fn options(&self, more: &Value) -> Value {
        let mut options = json!({ "schema_id": self.id, "requested_by": "a test" });
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        options
    }
}

/// What a TenantSchema of that name asks for.
pub fn tenant_options(schema_name: &str) -> Value {
    json!({ "schema_name": schema_name, "owner": owner(schema_name), "requested_by": "a test" })
}

/// The TenantSchema of that name.
pub fn owner(name: &str) -> Value {
    json!({ "cluster": "cluster-1", "namespace": "team-a", "name": name, "uid": format!("uid-{name}") })
}

/// Calls a management function that takes and returns one document.
pub async fn call(client: &Client, function: &str, options: &Value) -> Value {
    try_call(client, function, options).await.unwrap()
}

/// Calls one that may not be callable.
pub async fn try_call(client: &Client, function: &str, options: &Value) -> Result<Value, tokio_postgres::Error> {
    Ok(client.query_one(&format!("SELECT edu_matrix_hub_schema.{function}($1)"), &[options]).await?.get(0))
}

/// Asserts how a call ended, and returns its reason.
#[track_caller]
pub fn expect(answer: &Value, status: &str) -> String {
    assert_eq!(answer["status"], status, "{answer}");
    answer["detail"]["reason"].as_str().unwrap_or_default().to_owned()
}

/// A claimed lane.
pub struct Lane {
    /// The holder's connection.
    pub client: Client,
    epoch: i64,
    /// Which installation it is of.
    pub installation_id: Uuid,
}

impl Lane {
    /// Claims the lane for a connection.
    pub async fn claim(client: Client) -> Self {
        let claim = call(
            &client,
            "claim_lane",
            &json!({ "cluster": "cluster-1", "tenant_database": "default", "holder": "a test" }),
        )
        .await;
        expect(&claim, "success");
        let epoch = claim["detail"]["epoch"].as_i64().unwrap();
        let installation_id = claim["detail"]["installation_id"].as_str().unwrap().parse().unwrap();
        Self { client, epoch, installation_id }
    }

    /// The same lane over another connection.
    pub fn claim_shared(lane: &Self, client: Client) -> Self {
        Self { client, epoch: lane.epoch, installation_id: lane.installation_id }
    }

    /// Applies steps.
    pub async fn apply(&self, steps: &Value) -> Vec<Value> {
        let row = self
            .client
            .query_one(
                "SELECT edu_matrix_hub_schema.apply_steps($1, $2, $3)",
                &[&self.epoch, &self.installation_id, steps],
            )
            .await
            .unwrap();
        row.get::<_, Value>(0).as_array().unwrap().clone()
    }

    /// Opens or closes a session of a tenant.
    pub async fn session(&self, action: &str, options: &Value) -> Value {
        self.try_session(action, options).await.unwrap()
    }

    /// The same by one who perhaps may not.
    pub async fn try_session(&self, action: &str, options: &Value) -> Result<Value, tokio_postgres::Error> {
        self.try_call(&format!("{action}_tenant_session"), options).await
    }

    /// Calls a function that the holder of the lane alone may call.
    pub async fn call(&self, function: &str, options: &Value) -> Value {
        self.try_call(function, options).await.unwrap()
    }

    async fn try_call(&self, function: &str, options: &Value) -> Result<Value, tokio_postgres::Error> {
        let sql = format!("SELECT edu_matrix_hub_schema.{function}($1, $2, $3)");
        Ok(self.client.query_one(&sql, &[&self.epoch, &self.installation_id, options]).await?.get(0))
    }

    /// Says that the holder is alive.
    pub async fn beat(&self) -> Value {
        let sql = "SELECT edu_matrix_hub_schema.heartbeat_lane($1, $2)";
        self.client.query_one(sql, &[&self.epoch, &self.installation_id]).await.unwrap().get(0)
    }

    /// Surveys all tenants; answers with what changed, or with all.
    pub async fn survey(&self, everything: bool) -> Value {
        self.survey_with(json!({ "everything": everything })).await
    }

    /// Surveys all tenants; answers with what changed and with what is asked for.
    pub async fn survey_with(&self, options: Value) -> Value {
        let row = self
            .client
            .query_one(
                "SELECT edu_matrix_hub_schema.survey_tenants($1, $2, $3)",
                &[&self.epoch, &self.installation_id, &options],
            )
            .await
            .unwrap();
        row.get(0)
    }

    /// Sends the calls of another epoch or installation.
    pub fn with(self, epoch: i64, installation_id: Option<Uuid>) -> Self {
        Self { epoch: self.epoch + epoch, installation_id: installation_id.unwrap_or(self.installation_id), ..self }
    }
}

/// The row of one tenant in a survey's answer.
pub fn surveyed<'a>(survey: &'a Value, tenant: &Tenant) -> Option<&'a Value> {
    survey["tenants"].as_array().unwrap().iter().find(|row| row["schema_id"] == json!(tenant.id))
}

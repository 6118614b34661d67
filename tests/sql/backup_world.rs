//! What the tests of backups add to a database: tenants made by hand, the public functions, a canary (a function that
//! tells as which role the code of a tenant ran), and the proof that nothing of a call is left.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::{Database, Tenant, call, expect, owner, with_database};

/// An installed database with a canary in it.
#[derive(Clone)]
pub struct World {
    pub database: Arc<Database>,
}

/// Runs a test with one.
pub async fn with_world<F>(test: impl FnOnce(World) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    with_database(|database| async move {
        let world = World { database };
        world
            .run(
                "RESET ROLE; RESET search_path; SET client_min_messages = warning;
                 CREATE TABLE public.canary (who text, what text); GRANT ALL ON public.canary TO PUBLIC",
            )
            .await;
        test(world).await;
    })
    .await;
}

impl World {
    /// A session of a login that may call the functions and nothing more.
    pub async fn session(&self) -> Client {
        self.database.operator().await
    }

    /// A session of a superuser.
    pub async fn superuser(&self) -> Client {
        let session = self.database.connect("postgres").await;
        session.batch_execute("SET client_min_messages = warning").await.unwrap();
        session
    }

    /// Runs statements as superuser.
    pub async fn run(&self, sql: &str) {
        self.database.admin.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// One value, as superuser, as text.
    pub async fn text(&self, sql: &str) -> String {
        text(&self.database.admin, sql).await
    }

    /// A tenant made by hand.
    pub async fn tenant(&self, schema: &str) -> Tenant {
        let institution = self.database.institution().await;
        let sql = "SELECT jsonb_build_object('status', status, 'message', message, 'schema_id', schema_id)
                   FROM edu_matrix_hub_schema.create_institution_schema($1, $2)";
        let answer: Value = self.database.admin.query_one(sql, &[&institution, &schema]).await.unwrap().get(0);
        expect(&answer, "success");
        self.database.tenant_of(&answer).await
    }

    /// Runs statements as the tenant's owner, in a session of their own, so that no setting that its code makes is seen here.
    pub async fn as_owner(&self, tenant: &Tenant, sql: &str) {
        let sql = format!("SET ROLE \"{}\"; {sql}", tenant.owner);
        self.superuser().await.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Makes a foreign role a member of the tenant's owner role, in a way that is the functions' to end on every version.
    pub async fn join(&self, tenant: &Tenant, member: &str) {
        let keeper = format!("(SELECT keeper FROM edu_matrix_hub_schema.tenant_schemas WHERE id = '{}')", tenant.id);
        self.run(&format!(
            "SET ROLE {}; SELECT edu_matrix_hub_schema._role_command({keeper}, 'join set inherit', ARRAY['{member}'], '{}'); RESET ROLE",
            self.database.owner_role, tenant.owner
        ))
        .await;
    }

    /// The newest catalogue row.
    pub async fn newest_backup(&self) -> Value {
        let sql = "SELECT to_jsonb(b) FROM edu_matrix_hub_schema.schema_backups AS b ORDER BY requested_at DESC, completed_at DESC LIMIT 1";
        self.database.one(sql).await
    }

    /// Asserts that nothing of a finished call is left: no membership of ours, no sandbox, no grant on what is ours.
    pub async fn assert_clean(&self) {
        let leftovers = "SELECT coalesce(string_agg(what, ', '), '') FROM (
                SELECT 'schema ' || nspname AS what FROM pg_namespace WHERE nspname LIKE 'edu_matrix_work%'
                UNION ALL SELECT 'grant on ' || n.nspname FROM pg_namespace AS n, aclexplode(n.nspacl) AS a
                WHERE n.nspname LIKE '%\\_bak\\_%' AND a.grantee <> n.nspowner
                UNION ALL SELECT 'grant on ' || c.oid::regclass FROM edu_matrix_hub_schema.installation AS i
                JOIN pg_class AS c ON c.relowner = i.owner_role::regrole, aclexplode(c.relacl) AS a
                WHERE c.relnamespace::regnamespace::text LIKE '%\\_bak\\_%' AND a.grantee <> c.relowner
            ) AS left_over";
        assert_eq!(self.text(leftovers).await, "", "nothing may remain");
        assert_eq!(self.database.standing_memberships().await, 0, "no membership may remain");
    }

    /// The roles as which tenant code ran since the last call, and what it says it did.
    pub async fn canary(&self) -> Vec<(String, String)> {
        let rows =
            self.database.admin.query("SELECT DISTINCT who, what FROM public.canary ORDER BY 1, 2", &[]).await.unwrap();
        self.run("TRUNCATE public.canary").await;
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

/// One value as text; null is empty.
pub async fn text(client: &Client, sql: &str) -> String {
    let sql = format!("SELECT coalesce(({sql})::text, '')");
    client.query_one(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

/// A public front: status and message.
pub async fn front(client: &Client, function: &str, id: Uuid) -> (String, String) {
    let sql = format!("SELECT status, message FROM edu_matrix_hub_schema.{function}($1)");
    let row = client.query_one(&sql, &[&id]).await.unwrap_or_else(|error| panic!("{function}: {error:?}"));
    (row.get(0), row.get(1))
}

/// A public front that has to succeed; returns its message.
pub async fn succeed(client: &Client, function: &str, id: Uuid) -> String {
    let (status, message) = front(client, function, id).await;
    assert_eq!(status, "success", "{message}");
    message
}

/// Sets a tenant aside by hand and returns the id and the location of the backup.
pub async fn drop_by_hand(world: &World, client: &Client, tenant: &Tenant) -> (Uuid, String) {
    succeed(client, "drop_institution_schema", tenant.id).await;
    let backup = world.newest_backup().await;
    assert_eq!((&backup["method"], &backup["state"]), (&json!("SetAside"), &json!("complete")));
    (id(&backup["id"]), backup["location"].as_str().unwrap().to_owned())
}

/// Suspends a tenant or opens it again.
pub async fn set_access(client: &Client, tenant: &Tenant, access: &str) -> Value {
    call(client, "set_tenant_access", &tenant.options(&json!({ "access": access }))).await
}

/// The TenantSchema of that name, made again: the same but for its uid.
pub fn remade(name: &str) -> Value {
    let mut object = owner(name);
    object["uid"] = json!(format!("uid-{name}-2"));
    object
}

/// What a TenantSchema is told about itself and about a schema that it wants.
pub async fn observe(client: &Client, object: &Value, schema: &str) -> Value {
    let mut request = object.clone();
    request["schema_name"] = json!(schema);
    call(client, "observe_tenant", &request).await
}

/// The id in a document.
pub fn id(value: &Value) -> Uuid {
    value.as_str().unwrap().parse().unwrap()
}

/// Waits until some session of this database waits for a lock.
pub async fn wait_for_a_waiter(world: &World) {
    for _ in 0..400 {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        if world.text(waiting).await != "0" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("no session waits for a lock");
}

/// A process that holds the lane and works on jobs.
pub struct Worker {
    pub client: Client,
    pub epoch: i64,
    pub installation: Uuid,
}

impl Worker {
    /// Claims the lane for a connection.
    pub async fn claim(client: Client) -> Self {
        let options = json!({ "cluster": "cluster-1", "tenant_database": "default", "holder": "a test" });
        let claim = call(&client, "claim_lane", &options).await;
        expect(&claim, "success");
        let epoch = claim["detail"]["epoch"].as_i64().unwrap();
        Self { epoch, installation: id(&claim["detail"]["installation_id"]), client }
    }

    /// The same process over another connection.
    pub fn over(&self, client: Client) -> Self {
        Self { client, epoch: self.epoch, installation: self.installation }
    }

    /// Applies one step.
    pub async fn step(&self, call: &str, options: &Value) -> Value {
        let steps = json!([{ "call": call, "options": options }]);
        let sql = "SELECT edu_matrix_hub_schema.apply_steps($1, $2, $3)";
        let row = self.client.query_one(sql, &[&self.epoch, &self.installation, &steps]).await.unwrap();
        row.get::<_, Value>(0)[0].clone()
    }

    /// Surveys all tenants.
    pub async fn survey(&self) -> Value {
        let sql = "SELECT edu_matrix_hub_schema.survey_tenants($1, $2)";
        self.client.query_one(sql, &[&self.epoch, &self.installation]).await.unwrap().get(0)
    }

    /// Requests a snapshot for the SchemaBackup with this uid; returns the answer.
    pub async fn request(&self, tenant: &Tenant, uid: &str) -> Value {
        let object = json!({ "cluster": "cluster-1", "namespace": "team-a", "name": uid, "uid": uid });
        self.step("request_backup", &tenant.options(&json!({ "method": "Snapshot", "object": object }))).await
    }

    /// Claims a job.
    pub async fn claim_job(&self, options: &Value) -> Value {
        let sql = "SELECT edu_matrix_hub_schema.claim_job($1, $2, $3)";
        self.client.query_one(sql, &[&self.epoch, &self.installation, options]).await.unwrap().get(0)
    }

    /// Claims a job and returns its id.
    pub async fn next_job(&self) -> Uuid {
        let claimed = self.claim_job(&json!({ "holder": "a test" })).await;
        expect(&claimed, "success");
        id(&claimed["detail"]["job_id"])
    }

    /// Runs a job, or a part of it.
    pub async fn run(&self, job: Uuid) -> Value {
        let sql = "SELECT edu_matrix_hub_schema.run_job($1, $2, $3)";
        self.client.query_one(sql, &[&self.epoch, &self.installation, &job]).await.unwrap().get(0)
    }

    /// Says that a job is alive.
    pub async fn heartbeat(&self, job: Uuid) -> Value {
        let sql = "SELECT edu_matrix_hub_schema.heartbeat_job($1, $2, $3)";
        self.client.query_one(sql, &[&self.epoch, &self.installation, &job]).await.unwrap().get(0)
    }

    /// Ends a job whose end only the client saw.
    pub async fn finish(&self, job: Uuid, outcome: &Value) -> Value {
        let sql = "SELECT edu_matrix_hub_schema.finish_job($1, $2, $3, $4)";
        self.client.query_one(sql, &[&self.epoch, &self.installation, &job, outcome]).await.unwrap().get(0)
    }
}

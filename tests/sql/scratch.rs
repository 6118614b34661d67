//! The databases in which archives are restored to prove them: made by an operator that may, of this tenant's alone, and gone
//! with the job or with the operator that left them behind.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    backup_world::{Worker, World, with_world},
    support::{Tenant, expect},
};

impl Worker {
    /// Asks for the database of a job whose tenant needs an extension.
    async fn begin_scratch(&self, job: Uuid) -> Value {
        let extension = json!({ "name": "citext", "version": "1.6", "schema": "Things" });
        self.of_job("begin_scratch", job, &json!({ "extensions": [extension] })).await
    }

    /// An archive that is being made and is to be restored, of a tenant that has a login for it.
    async fn proving(&self, world: &World) -> (Tenant, Uuid) {
        let tenant = world.tenant("school").await;
        let (sql, verifier) =
            ("SELECT edu_matrix_hub_schema.open_tenant_session($1, $2, $3)", world.database.verifier("secret").await);
        let options = json!({ "schema_id": tenant.id, "verifier": verifier, "seconds": 60, "purpose": "backup" });
        let opened: Value =
            self.client.query_one(sql, &[&self.epoch, &self.installation, &options]).await.unwrap().get(0);
        expect(&opened, "success");
        expect(&self.request_archive(&tenant, "one", &json!({ "verification": "Restore" })).await, "success");
        let job = self.next_of("archive").await;
        expect(&self.begin(job, Uuid::new_v4()).await, "success");
        (tenant, job)
    }

    /// Notes that a database stands.
    async fn note_scratch(&self, name: &str) -> Value {
        let sql = "SELECT edu_matrix_hub_schema.note_scratch($1, $2, $3)";
        self.client.query_one(sql, &[&self.epoch, &self.installation, &name]).await.unwrap().get(0)
    }

    /// What is to be removed.
    async fn left_scratch(&self, job: Option<Uuid>) -> Vec<Value> {
        let sql = "SELECT edu_matrix_hub_schema.left_scratch($1, $2, $3)";
        let options = json!({ "job_id": job });
        let answer: Value =
            self.client.query_one(sql, &[&self.epoch, &self.installation, &options]).await.unwrap().get(0);
        expect(&answer, "success");
        answer["detail"]["left"].as_array().unwrap().clone()
    }

    /// Runs what it answered, one by one.
    async fn make(&self, begun: &Value) -> String {
        for statement in begun["detail"]["make"].as_array().unwrap() {
            self.client.batch_execute(statement.as_str().unwrap()).await.unwrap();
        }
        begun["detail"]["name"].as_str().unwrap().to_owned()
    }
}

/// Lets the operator's login make databases.
const CREATEDB: &str = "DO $$ BEGIN EXECUTE format('ALTER ROLE %I CREATEDB', current_database() || '_op'); END $$";

/// Who may come into a database, and how many.
async fn rights(world: &World, name: &str) -> String {
    let sql =
        "SELECT concat(datconnlimit, ' ', (SELECT string_agg(CASE grantee WHEN 0 THEN 'public' ELSE 'role' END || ' '
                   || privilege_type, ', ' ORDER BY privilege_type)
               FROM aclexplode(datacl) AS a WHERE a.grantee <> datdba)) FROM pg_database WHERE datname = ";
    world.text(&format!("{sql}'{name}'")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_database_is_like_the_original_and_its_tenants_alone() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let (tenant, job) = worker.proving(&world).await;
        let refused = worker.begin_scratch(job).await;
        expect(&refused, "success");
        assert!(refused["detail"]["because"].as_str().unwrap().ends_with("_op CREATEDB"), "{refused}");
        assert_eq!(worker.left_scratch(Some(job)).await, Vec::<Value>::new());
        world.run(CREATEDB).await;
        let begun = worker.begin_scratch(job).await;
        expect(&begun, "success");
        let prepare = [
            r#"CREATE SCHEMA IF NOT EXISTS "Things""#,
            r#"GRANT USAGE ON SCHEMA "Things" TO PUBLIC"#,
            r#"CREATE EXTENSION IF NOT EXISTS citext SCHEMA "Things" VERSION '1.6' CASCADE"#,
        ];
        assert_eq!(begun["detail"]["prepare"], json!(prepare));
        let name = worker.make(&begun).await;
        assert_eq!(rights(&world, &name).await, "4 role CONNECT, role CREATE");
        let alike = "SELECT count(DISTINCT (encoding, datlocprovider, datcollate, datctype))::text FROM pg_database
                     WHERE datname IN (current_database(), ";
        assert_eq!(world.text(&format!("{alike}'{name}')")).await, "1");
        expect(&worker.note_scratch(&name).await, "success");
        assert_eq!(expect(&worker.note_scratch("another").await, "error"), "not_found");
        assert_eq!(worker.left_scratch(None).await, Vec::<Value>::new(), "while the job runs");

        // What the tenant owns in it does not make of our database a copy of another.
        let inside = world.database.operator_in(&name).await;
        world.run(&format!("GRANT \"{}\" TO {}_op", tenant.owner, world.database.name)).await;
        let owned = format!("SET ROLE \"{}\"; CREATE SCHEMA school", tenant.owner);
        inside.batch_execute(&owned).await.unwrap();
        let shared = format!(
            "SELECT edu_matrix_hub_schema._other_databases(ARRAY['{}'])::text || edu_matrix_hub_schema._refuse_copy()::text",
            tenant.owner
        );
        assert_eq!(world.text(&shared).await, "{}");

        let left = worker.left_scratch(Some(job)).await;
        assert_eq!(left.len(), 1);
        // A session in it does not keep it.
        worker.client.batch_execute(left[0]["drop"].as_str().unwrap()).await.unwrap();
        assert_eq!(worker.left_scratch(Some(job)).await, Vec::<Value>::new());
        assert_eq!(world.text("SELECT count(*)::text FROM edu_matrix_hub_schema.scratch_databases").await, "0");
        expect(&worker.begin_scratch(job).await, "success");
        drop(inside);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_operator_left_is_found_and_another_database_of_the_name_is_not() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let (_, job) = worker.proving(&world).await;
        world.run(CREATEDB).await;
        let name = worker.make(&worker.begin_scratch(job).await).await;

        // Killed before it noted which one it made: the next operator finds it by its name.
        let next = Worker::claim(world.session().await).await;
        let left = next.left_scratch(None).await;
        assert_eq!(left.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(), [name.as_str()]);
        let stale = "SELECT edu_matrix_hub_schema.left_scratch($1, $2, '{}')";
        let answer: Value =
            worker.client.query_one(stale, &[&worker.epoch, &worker.installation]).await.unwrap().get(0);
        assert_eq!(expect(&answer, "error"), "stale_epoch");

        // One that was noted and is another by now is forgotten, and stays; 1 is the number of a database of every server.
        let note = "UPDATE edu_matrix_hub_schema.scratch_databases SET database_oid = 1";
        world.run(note).await;
        assert_eq!(next.left_scratch(None).await, Vec::<Value>::new());
        assert_eq!(world.text("SELECT count(*)::text FROM edu_matrix_hub_schema.scratch_databases").await, "0");
        next.client.batch_execute(left[0]["drop"].as_str().unwrap()).await.unwrap();

        // One that a server may just be making, for a client that is gone, is not forgotten before it can stand.
        let made =
            "INSERT INTO edu_matrix_hub_schema.scratch_databases (name, job_id) VALUES ('later', gen_random_uuid())";
        world.run(made).await;
        assert_eq!(next.left_scratch(None).await, Vec::<Value>::new());
        assert_eq!(world.text("SELECT count(*)::text FROM edu_matrix_hub_schema.scratch_databases").await, "1");
        world.run("UPDATE edu_matrix_hub_schema.scratch_databases SET begun_at = now() - interval '11 min'").await;
        assert_eq!(next.left_scratch(None).await, Vec::<Value>::new());
        assert_eq!(world.text("SELECT count(*)::text FROM edu_matrix_hub_schema.scratch_databases").await, "0");
    })
    .await;
}

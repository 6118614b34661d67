//! What a tenant uses: tables, indexes and TOAST, as they are, and a tenant that locks a table hides no more than that one.

use serde_json::json;
use tenant_schema_operator::api::TenantSchema;

use crate::world::{World, condition};

/// What these tests do in their world.
trait Usage {
    fn bytes(&self, schema: &str) -> i64;
    async fn until_measured(&self, name: &str) -> TenantSchema;
}

impl Usage for World {
    /// What a schema takes up, as PostgreSQL itself says.
    fn bytes(&self, schema: &str) -> i64 {
        let bytes = self.sql(&format!(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class \
             WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'm', 'S')"
        ));
        bytes.parse().unwrap()
    }

    /// Waits until the tenant shows what its schema takes up; returns it.
    async fn until_measured(&self, name: &str) -> TenantSchema {
        let mut found = None;
        self.eventually(&format!("{name} shows what it uses"), async || {
            let tenant = self.api::<TenantSchema>().get(name).await.unwrap();
            let shown = tenant.status.as_ref().unwrap().storage_used_bytes;
            found = Some(tenant);
            shown == Some(self.bytes(name))
        })
        .await;
        found.expect("just found")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_counts_tables_indexes_and_toast_and_follows_every_change() {
    let world = World::new(json!({})).await;
    let quota = json!({ "limit": "4Mi", "warningPercent": 60 });
    world.apply_tenant("school", json!({ "schemaName": "school", "quota": quota })).await;
    let none = world.ready_tenant("school").await.status.unwrap();
    assert_eq!((none.storage_used.as_deref(), none.quota_used_percent), (Some("0"), Some(0)));
    let fill = "INSERT INTO school.files (body) SELECT (SELECT string_agg(md5(n || '/' || m), '')
                                                         FROM generate_series(1, 300) AS m)
                FROM generate_series(1, 200) AS n";

    world.sql_as(
        "school",
        "owner",
        &format!(
            "CREATE TABLE school.files (id serial PRIMARY KEY, body text);
             ALTER TABLE school.files ALTER body SET STORAGE EXTERNAL;
             -- Autovacuum would add a page of a map after a survey, which is too little to be told.
             ALTER TABLE school.files SET (autovacuum_enabled = off, toast.autovacuum_enabled = off);
             CREATE TABLE school.years (year int) PARTITION BY LIST (year);
             CREATE TABLE school.this PARTITION OF school.years DEFAULT;
             CREATE VIEW school.all AS TABLE school.files; {fill}"
        ),
    );
    let tenant = world.until_measured("school").await;
    let (measured, whole) = (tenant.status.unwrap(), world.bytes("school"));
    assert_eq!(measured.table_count, Some(3), "tables and partitions, no views");
    assert!(whole > 2_000_000, "most of it is TOAST: {whole}");
    let percent = i32::try_from(whole * 100 / (4 << 20)).unwrap();
    assert_eq!(measured.quota_used_percent, Some(percent));
    assert!((50..60).contains(&percent));
    let registry = world.sql("SELECT table_count, storage_used FROM edu_matrix_hub_schema.tenant_schemas");
    assert_eq!(registry, format!("3|{whole}"));

    // An index is built: nothing was written to the table.
    world.sql_as("school", "owner", "CREATE INDEX ON school.files (left(body, 1500), id)");
    let tenant = world.until_measured("school").await;
    assert!(world.bytes("school") > whole + 200_000);
    let (status, reason, message) = condition(&tenant, "Ready").unwrap();
    let told = "schema school is ready; it uses more than 60 % of its quota of 4Mi";
    assert_eq!((status.as_str(), reason.as_str(), message.as_str()), ("True", "QuotaWarning", told));
    world.event("school", "QuotaWarning", told).await;

    // More than its quota: that is told, and the tenant works on.
    world.sql_as("school", "owner", fill);
    let tenant = world.until_measured("school").await;
    assert!(tenant.status.as_ref().unwrap().quota_used_percent > Some(100));
    let (status, reason, message) = condition(&tenant, "Ready").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "QuotaExceeded"));
    assert_eq!(message, "schema school is ready; it uses more than its quota of 4Mi");
    world.event("school", "QuotaExceeded", &message).await;

    // Everything goes in a way that no row is counted.
    world.sql_as("school", "owner", "TRUNCATE school.files");
    let tenant = world.until_measured("school").await;
    assert!(world.bytes("school") < 100_000);
    assert_eq!(condition(&tenant, "Ready").unwrap().2, "schema school is ready");
    world
        .eventually("the database shows the sum", async || {
            let status = world.databases().get(&world.database_ref()).await.unwrap().status.unwrap();
            status.storage_used_bytes.is_some_and(|bytes| bytes < 200_000)
        })
        .await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_hides_itself_and_no_other() {
    let world = World::new(json!({})).await;
    for name in ["locked", "other"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
        world.sql_as(
            name,
            "owner",
            &format!("CREATE TABLE {name}.a (t text); CREATE TABLE {name}.b AS SELECT 1 AS id"),
        );
    }
    for name in ["locked", "other"] {
        world.until_measured(name).await;
    }
    let stale = || world.count("tenant_schema_operator_survey_stale_tenants");
    assert_eq!(stale(), 0);
    let before = world.bytes("locked");

    let lock = world.session("BEGIN; LOCK TABLE locked.b IN ACCESS EXCLUSIVE MODE");
    for name in ["locked", "other"] {
        world.sql_as(
            name,
            "owner",
            &format!("INSERT INTO {name}.a SELECT repeat('x', 1000) FROM generate_series(1, 1000)"),
        );
    }
    world.until_measured("other").await;
    world.eventually("one tenant is stale", async || stale() == 1).await;
    world
        .eventually("what was written beside the locked table counts", async || {
            let shown = world.ready_tenant("locked").await.status.unwrap().storage_used_bytes;
            shown > Some(before + 900_000)
        })
        .await;
    drop(lock);
    world.eventually("none is stale any more", async || stale() == 0).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_a_migration_made_as_its_own_login_is_told_with_the_statement() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let until_told = async |expected: &str| {
        world
            .eventually(&format!("the tenant says {expected}"), async || {
                let tenant = world.ready_tenant("school").await;
                let (_, reason, message) = condition(&tenant, "Ready").unwrap();
                (reason.as_str(), message.as_str()) == ("Succeeded", expected)
            })
            .await;
    };
    world.sql("CREATE TABLE school.pupils (id int); CREATE TABLE school.orders (id int)");
    let statement = |table: &str| {
        format!("ALTER TABLE school.{table} OWNER TO {}", world.tenant_role("school", "owner").trim_matches('"'))
    };
    let (orders, pupils) = (statement("orders"), statement("pupils"));
    until_told(&format!(
        "schema school is ready; 2 tables belong to other roles than the tenant's owner role, orders to postgres for one: {orders}"
    ))
    .await;
    world.sql(&orders);
    until_told(&format!(
        "schema school is ready; table pupils belongs to role postgres and not to the tenant's owner role: {pupils}"
    ))
    .await;
    world.sql(&pupils);
    until_told("schema school is ready").await;
    world.finish().await;
}

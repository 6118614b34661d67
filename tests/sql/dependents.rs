//! Views and functions of a grantee end with the tenant that gives, and come back with it.

use serde_json::{Value, json};

use crate::{
    grants::{give, grant, may, school_and_reporting},
    support::{Database, Tenant, call, expect, owner},
};

/// What the grantee makes: a view, one over it, a materialized view and two functions.
const CHAIN: &str = "CREATE VIEW names AS SELECT id, name FROM school.pupils; \
     COMMENT ON VIEW names IS 'who is there'; COMMENT ON COLUMN names.name IS 'called'; \
     ALTER VIEW names ALTER COLUMN name SET DEFAULT 'nobody'; \
     CREATE VIEW short WITH (security_barrier = true) AS SELECT name FROM names WHERE length(name) < 9; \
     CREATE MATERIALIZED VIEW counted AS SELECT name, count(*) AS n FROM short GROUP BY name; \
     CREATE UNIQUE INDEX counted_name ON counted (name); \
     CREATE FUNCTION pupil(wanted int) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT name FROM names WHERE id = wanted; END; \
     COMMENT ON FUNCTION pupil(int) IS 'one'; \
     CREATE VIEW first AS SELECT pupil(1) AS name; \
     GRANT SELECT (name) ON names TO PUBLIC; REVOKE ALL ON FUNCTION pupil(int) FROM PUBLIC; \
     CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
     CREATE TRIGGER noting INSTEAD OF INSERT ON names FOR EACH ROW EXECUTE FUNCTION noted(); \
     CREATE RULE noting AS ON DELETE TO names DO INSTEAD NOTHING";

/// All that there is in a schema, by definition, comment, owner and rights.
async fn content(database: &Database, schema: &str) -> String {
    database
        .one(&format!(
            "SELECT string_agg(x.what, E'\\n' ORDER BY x.what) FROM (SELECT concat_ws(' ', c.relname, c.relkind, c.relispopulated, \
             c.reloptions, pg_get_userbyid(c.relowner), (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(c.relacl) \
             AS a), CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, (SELECT string_agg(concat_ws(' ', \
             t.attname, t.attacl, col_description(c.oid, t.attnum), (SELECT pg_get_expr(f.adbin, f.adrelid) FROM pg_attrdef AS \
             f WHERE f.adrelid = c.oid AND f.adnum = t.attnum)), ',' ORDER BY t.attnum) FROM pg_attribute AS t WHERE t.attrelid \
             = c.oid AND t.attnum > 0), obj_description(c.oid), (SELECT string_agg(pg_get_triggerdef(t.oid), ' ') FROM \
             pg_trigger AS t WHERE t.tgrelid = c.oid), (SELECT string_agg(pg_get_ruledef(u.oid), ' ' ORDER BY u.rulename) FROM \
             pg_rewrite AS u WHERE u.ev_class = c.oid), CASE c.relkind WHEN 'i' THEN pg_get_indexdef(c.oid) END) AS what FROM \
             pg_class AS c WHERE c.relnamespace = '{schema}'::regnamespace UNION ALL SELECT concat_ws(' ', \
             pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner), (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM \
             unnest(p.proacl) AS a), obj_description(p.oid)) FROM pg_proc AS p WHERE p.pronamespace = '{schema}'::regnamespace) AS x"
        ))
        .await
}

async fn set_aside(database: &Database, tenant: &Tenant) -> Value {
    let options = tenant.options(&json!({ "owner_uid": format!("uid-{}", tenant.schema) }));
    call(&database.operator().await, "set_aside_tenant_schema", &options).await
}

async fn restore(database: &Database, backup: &Value) {
    let options = json!({ "backup_id": backup, "owner": owner("school") });
    expect(&call(&database.operator().await, "restore_tenant_schema", &options).await, "success");
}

async fn remake(database: &Database, tenant: &Tenant, request: &str) -> Value {
    call(&database.operator().await, "remake_dependents", &tenant.options(&json!({ "request": request }))).await
}

/// What the operator is told that the tenant lost.
async fn lost(database: &Database, tenant: &Tenant) -> Value {
    let mut request = owner(&tenant.schema);
    request["schema_name"] = json!(tenant.schema);
    call(&database.operator().await, "observe_tenant", &request).await["own"]["taken"].clone()
}

async fn taken(database: &Database) -> i64 {
    database.one("SELECT count(*) FROM edu_matrix_hub_schema.taken_dependents").await
}

async fn with_grant(database: &Database) -> (Tenant, Tenant) {
    let (school, reporting) = school_and_reporting(database).await;
    expect(&give(database, &school, json!([grant("reporting", &["Read"])])).await, "success");
    (school, reporting)
}

#[tokio::test]
async fn what_a_grantee_made_over_a_tenant_goes_and_comes_back_with_it() {
    crate::support::with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        database.as_owner(&reporting, CHAIN).await;
        database.as_owner(&reporting, "CREATE TABLE own (id int); CREATE VIEW mine AS SELECT * FROM own").await;
        let before = content(&database, "reporting").await;
        assert_eq!(lost(&database, &reporting).await, Value::Null);
        expect(&remake(&database, &reporting, "").await, "unchanged");

        let answer = set_aside(&database, &school).await;
        expect(&answer, "success");
        let removed = answer["detail"]["dependents"].as_array().unwrap();
        assert_eq!(removed.len(), 5, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("reporting.names"), "{answer}");
        let now = content(&database, "reporting").await;
        assert!(now.contains("mine") && now.contains("noted") && !now.contains("names"), "{now}");
        let told = lost(&database, &reporting).await;
        assert_eq!((&told[0]["state"], &told[0]["count"]), (&json!("away"), &json!(5)), "{told}");
        assert_eq!((&told[0]["schema"], &told[0]["owner"]["name"]), (&json!("school"), &json!("school")), "{told}");
        let logged = "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations WHERE type = 'take_dependents'";
        assert_eq!(database.one::<i64>(logged).await, 1);
        expect(&remake(&database, &reporting, "").await, "unchanged");
        assert_eq!(database.standing_memberships().await, 0);

        restore(&database, &answer["detail"]["backup_id"]).await;
        assert_eq!(lost(&database, &reporting).await[0]["state"], "due");
        let made = remake(&database, &reporting, "").await;
        expect(&made, "success");
        assert_eq!(made["detail"]["left"], json!([]), "{made}");
        assert_eq!(content(&database, "reporting").await, before);
        assert_eq!(lost(&database, &reporting).await, Value::Null);
        assert!(may(&database, &reporting.reader, "SELECT * FROM reporting.counted").await);
        assert!(may(&database, &reporting.owner, "SELECT reporting.pupil(1)").await);
        assert_eq!(database.standing_memberships().await, 0);
        expect(&remake(&database, &reporting, "").await, "unchanged");
    })
    .await;
}

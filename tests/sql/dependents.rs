//! Views and functions of a grantee end with the tenant that gives, and come back with it.

use serde_json::{Value, json};

use crate::{
    grants::{give, grant, may, school_and_reporting},
    support::{Database, Lane, Tenant, call, expect, owner, surveyed, with_database},
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
pub async fn content(database: &Database, schema: &str) -> String {
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

pub async fn set_aside(database: &Database, tenant: &Tenant) -> Value {
    let options = tenant.options(&json!({ "owner_uid": format!("uid-{}", tenant.schema) }));
    call(&database.operator().await, "set_aside_tenant_schema", &options).await
}

pub async fn restore(database: &Database, backup: &Value) {
    let options = json!({ "backup_id": backup, "owner": owner("school") });
    expect(&call(&database.operator().await, "restore_tenant_schema", &options).await, "success");
}

pub async fn remake(database: &Database, tenant: &Tenant, request: &str) -> Value {
    call(&database.operator().await, "remake_dependents", &tenant.options(&json!({ "request": request }))).await
}

/// What the operator is told that the tenant lost.
pub async fn lost(database: &Database, tenant: &Tenant) -> Value {
    let mut request = owner(&tenant.schema);
    request["schema_name"] = json!(tenant.schema);
    call(&database.operator().await, "observe_tenant", &request).await["own"]["taken"].clone()
}

pub async fn taken(database: &Database) -> i64 {
    database.one("SELECT count(*) FROM edu_matrix_hub_schema.taken_dependents").await
}

pub async fn with_grant(database: &Database) -> (Tenant, Tenant) {
    let (school, reporting) = school_and_reporting(database).await;
    expect(&give(database, &school, json!([grant("reporting", &["Read"])])).await, "success");
    (school, reporting)
}

#[tokio::test]
async fn what_a_grantee_made_over_a_tenant_goes_and_comes_back_with_it() {
    with_database(async |database| {
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
        // Its rows are its owner's to fetch: nothing that fills it is run by us.
        assert_eq!(made["detail"]["empty"], json!(["reporting.counted"]), "{made}");
        database.as_owner(&reporting, "REFRESH MATERIALIZED VIEW counted").await;
        assert_eq!(content(&database, "reporting").await, before);
        assert_eq!(lost(&database, &reporting).await, Value::Null);
        assert!(may(&database, &reporting.reader, "SELECT * FROM reporting.counted").await);
        assert!(may(&database, &reporting.owner, "SELECT reporting.pupil(1)").await);
        assert_eq!(database.standing_memberships().await, 0);
        expect(&remake(&database, &reporting, "").await, "unchanged");
    })
    .await;
}

/// Why a tenant is not set aside, and the reason that the message has.
async fn refused(database: &Database, tenant: &Tenant) -> String {
    let answer = set_aside(database, tenant).await;
    expect(&answer, "error");
    assert_eq!(answer["detail"]["reason"], "dependents", "{answer}");
    answer["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_no_grantee_has_refuses_as_before_and_nothing_is_removed() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let other = database.tenant("other").await;
        database.as_owner(&reporting, CHAIN).await;
        let before = content(&database, "reporting").await;
        let run = async |sql: &str| database.admin.batch_execute(sql).await.unwrap();
        // Of a tenant without a grant, of no tenant, over a view of the grantee's, and of other kinds.
        run("CREATE SCHEMA apart").await;
        let owned = format!("ALTER VIEW reporting.stranger OWNER TO {}", other.owner);
        let cases = [
            ("CREATE VIEW other.seen AS SELECT * FROM school.pupils", "other.seen", "DROP VIEW other.seen"),
            ("CREATE VIEW apart.seen AS SELECT * FROM school.pupils", "apart.seen", "DROP VIEW apart.seen"),
            ("CREATE VIEW apart.over AS SELECT * FROM reporting.short", "apart.over", "DROP VIEW apart.over"),
            ("CREATE TABLE apart.t (n reporting.names)", "apart.t", "DROP TABLE apart.t"),
            (
                "CREATE TABLE reporting.t (id int); CREATE POLICY p ON reporting.t USING (id IN (SELECT id FROM reporting.names))",
                "reporting.t",
                "DROP TABLE reporting.t",
            ),
            (
                &format!("CREATE VIEW reporting.stranger AS SELECT * FROM school.pupils; {owned}"),
                "reporting.stranger",
                "DROP VIEW reporting.stranger",
            ),
            (
                "CREATE FUNCTION reporting.typed(school.pupils) RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "reporting.typed",
                "DROP FUNCTION reporting.typed",
            ),
        ];
        for (make, name, remove) in cases {
            run(make).await;
            let message = refused(&database, &school).await;
            assert!(message.contains(name), "{make}: {message}");
            run(remove).await;
        }
        assert_eq!(content(&database, "reporting").await, before);
        assert_eq!((taken(&database).await, database.standing_memberships().await), (0, 0));
        expect(&set_aside(&database, &school).await, "success");
        // A tenant that never had a grant is one of these, whatever a DBA gave it.
        assert_eq!(database.one::<i64>("SELECT sum(cardinality(granted_to)) FROM edu_matrix_hub_schema.tenant_schemas").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_grant_that_ended_leaves_its_views_which_end_with_the_tenant_and_come_back_with_another_grant() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        database.as_owner(&reporting, "CREATE VIEW names AS SELECT name FROM school.pupils").await;
        expect(&give(&database, &school, json!([])).await, "success");
        assert!(!may(&database, &reporting.owner, "SELECT * FROM reporting.names").await);
        let answer = set_aside(&database, &school).await;
        expect(&answer, "success");
        restore(&database, &answer["detail"]["backup_id"]).await;
        assert_eq!(lost(&database, &reporting).await[0]["state"], "away");
        expect(&remake(&database, &reporting, "").await, "unchanged");
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        assert_eq!(lost(&database, &reporting).await[0]["state"], "due");
        expect(&remake(&database, &reporting, "").await, "success");
        assert!(may(&database, &reporting.owner, "SELECT * FROM reporting.names").await);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_made_again_is_named_and_kept_until_a_user_asks_again() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let views = "CREATE VIEW names AS SELECT name FROM school.pupils; CREATE VIEW ids AS SELECT id FROM school.pupils; \
                     CREATE FUNCTION one() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT name FROM school.pupils; END";
        database.as_owner(&reporting, views).await;
        let lane = Lane::claim(database.operator().await).await;
        lane.survey(true).await;
        let answer = set_aside(&database, &school).await;
        assert_eq!(surveyed(&lane.survey(false).await, &reporting).unwrap()["taken"][0]["count"], 3);
        let taken_names = "CREATE TABLE names (id int); CREATE FUNCTION one() RETURNS text LANGUAGE sql AS 'SELECT NULL::text'";
        database.as_owner(&reporting, taken_names).await;
        let kept = content(&database, "reporting").await;
        restore(&database, &answer["detail"]["backup_id"]).await;
        assert_eq!(surveyed(&lane.survey(false).await, &reporting).unwrap()["taken"][0]["state"], "due");
        let made = remake(&database, &reporting, "first").await;
        expect(&made, "success");
        assert_eq!((&made["detail"]["made"], made["detail"]["left"].as_array().unwrap().len()), (&json!(["reporting.ids"]), 2));
        assert!(made["message"].as_str().unwrap().contains("already exists"), "{made}");
        let told = lost(&database, &reporting).await;
        assert_eq!((&told[0]["state"], &told[0]["request"]), (&json!("left"), &json!("first")), "{told}");
        let now = content(&database, "reporting").await;
        assert!(kept.lines().all(|line| now.contains(line)), "{now}");

        expect(&remake(&database, &reporting, "first").await, "unchanged");
        database.as_owner(&reporting, "DROP TABLE names; DROP FUNCTION one").await;
        expect(&remake(&database, &reporting, "second").await, "success");
        assert_eq!((lost(&database, &reporting).await, taken(&database).await), (Value::Null, 0));
    })
    .await;
}

#[tokio::test]
async fn what_ended_with_a_tenant_that_is_removed_is_kept_until_a_user_lets_it_go() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        database.as_owner(&reporting, "CREATE VIEW names AS SELECT name FROM school.pupils").await;
        let answer = set_aside(&database, &school).await;
        // One that a session made in that moment goes too.
        let location = answer["detail"]["location"].as_str().unwrap();
        let late = format!(
            "CREATE VIEW reporting.late AS SELECT * FROM {location}.pupils; ALTER VIEW reporting.late OWNER TO {}",
            reporting.owner
        );
        database.admin.batch_execute(&late).await.unwrap();
        let backup = answer["detail"]["backup_id"].as_str().unwrap();
        let purge =
            format!("SELECT status || ': ' || message FROM edu_matrix_hub_schema.purge_schema_backup('{backup}')");
        let said: String = database.one(&purge).await;
        assert!(said.starts_with("success"), "{said}");
        let told = lost(&database, &reporting).await;
        assert_eq!((&told[0]["state"], &told[0]["count"]), (&json!("gone"), &json!(2)), "{told}");
        // Another tenant of the name is another one.
        let (again, _) = (database.tenant("school").await, 0);
        database.as_owner(&again, "CREATE TABLE pupils (id int, name text)").await;
        expect(&give(&database, &again, json!([grant("reporting", &["Read"])])).await, "success");
        expect(&remake(&database, &reporting, "old").await, "unchanged");
        assert_eq!(taken(&database).await, 2);
        expect(&remake(&database, &reporting, "new").await, "success");
        assert_eq!(taken(&database).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_grantee_that_is_dropped_and_comes_back_gets_what_it_lost() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        database.as_owner(&reporting, "CREATE VIEW names AS SELECT name FROM school.pupils").await;
        let first = set_aside(&database, &school).await;
        let second = set_aside(&database, &reporting).await;
        expect(&second, "success");
        restore(&database, &first["detail"]["backup_id"]).await;
        let options = json!({ "backup_id": second["detail"]["backup_id"], "owner": owner("reporting") });
        expect(&call(&database.operator().await, "restore_tenant_schema", &options).await, "success");
        // First the grant, which its giver gave to no role while the grantee was away.
        expect(&remake(&database, &reporting, "").await, "unchanged");
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        expect(&remake(&database, &reporting, "").await, "success");
        assert!(may(&database, &reporting.owner, "SELECT * FROM reporting.names").await);

        // Each reads the other: what the first made over the grantee's view is empty when that is away.
        let grants = json!([grant("school", &["Read"])]);
        expect(&give(&database, &reporting, grants).await, "success");
        database.as_owner(&school, "CREATE VIEW back AS SELECT * FROM reporting.names").await;
        let answer = set_aside(&database, &school).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["dependents"].as_array().unwrap().len(), 1, "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_view_over_two_tenants_comes_back_with_the_second() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let academy = database.tenant("academy").await;
        database.as_owner(&academy, "CREATE TABLE staff (id int)").await;
        expect(&give(&database, &academy, json!([grant("reporting", &["Read"])])).await, "success");
        database
            .as_owner(
                &reporting,
                "CREATE VIEW people AS SELECT id FROM school.pupils UNION SELECT id FROM academy.staff",
            )
            .await;
        let first = set_aside(&database, &school).await;
        let second = set_aside(&database, &academy).await;
        assert_eq!(second["detail"]["dependents"], json!([]));
        restore(&database, &first["detail"]["backup_id"]).await;
        expect(&remake(&database, &reporting, "").await, "success");
        assert_eq!(lost(&database, &reporting).await[0]["state"], "left");
        let options = json!({ "backup_id": second["detail"]["backup_id"], "owner": owner("academy") });
        expect(&call(&database.operator().await, "restore_tenant_schema", &options).await, "success");
        expect(&remake(&database, &reporting, "").await, "success");
        assert!(may(&database, &reporting.owner, "SELECT * FROM reporting.people").await);
        assert_eq!(taken(&database).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_materialized_view_that_was_set_aside_keeps_the_tenant_and_is_told_with_what_removes_it() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        database.as_owner(&reporting, "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM school.pupils").await;
        let first = set_aside(&database, &reporting).await;
        expect(&first, "success");
        let location = first["detail"]["location"].as_str().unwrap();
        let message = refused(&database, &school).await;
        assert!(message.contains(&format!("{location}.counted")), "{message}");
        assert!(message.contains("set aside of schema \"reporting\""), "{message}");

        // Brought back, it ends with the tenant like any other.
        let options = json!({ "backup_id": first["detail"]["backup_id"], "owner": owner("reporting") });
        expect(&call(&database.operator().await, "restore_tenant_schema", &options).await, "success");
        let answer = set_aside(&database, &school).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["dependents"].as_array().unwrap().len(), 1, "{answer}");
        restore(&database, &answer["detail"]["backup_id"]).await;

        database.as_owner(&reporting, "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM school.pupils").await;
        expect(&set_aside(&database, &reporting).await, "success");
        let message = refused(&database, &school).await;
        let (_, command) = message.split_once("says partial: ").unwrap();
        let removed = format!("SELECT status FROM ({command}) AS p");
        while database.one::<String>(&removed).await == "partial" {}
        expect(&set_aside(&database, &school).await, "success");
    })
    .await;
}

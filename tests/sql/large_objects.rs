//! Large objects count for the tenant whose role owns them, take no writes from a neighbour, and go with the tenant.

use serde_json::{Value, json};

use crate::{
    application::Application,
    backup_world::{World, drop_by_hand, front, succeed, with_world},
    support::{Database, Lane, Tenant, surveyed, with_database},
};

/// Runs statements as a role, and lets their write counters arrive.
async fn write(database: &Database, role: &str, statements: &str) {
    let text = format!("SET ROLE \"{role}\"; {statements}; RESET ROLE; SELECT pg_stat_force_next_flush()");
    database.admin.batch_execute(&text).await.unwrap();
    database.admin.batch_execute("SELECT 1").await.unwrap();
}

/// One object of that many bytes that cannot be compressed.
fn object(bytes: usize) -> String {
    format!(
        "SELECT lo_from_bytea(0, string_agg(sha256(n::text::bytea), ''::bytea)) FROM generate_series(1, {}) AS n",
        bytes / 32
    )
}

async fn found(lane: &Lane, tenant: &Tenant) -> Value {
    surveyed(&lane.survey(true).await, tenant).unwrap()["large_objects"].clone()
}

fn bytes(found: &Value, what: &str) -> i64 {
    found[what].as_i64().unwrap_or_else(|| panic!("{found}"))
}

#[tokio::test]
async fn large_objects_count_for_the_tenant_that_owns_them_by_a_share_or_exactly() {
    with_database(async |database| {
        let (school, college) = (database.tenant("school").await, database.tenant("college").await);
        let lane = Lane::claim(database.operator().await).await;
        assert_eq!(found(&lane, &school).await, Value::Null);
        write(&database, &school.owner, &object(1 << 20)).await;
        let alone = found(&lane, &school).await;
        assert_eq!((&alone["count"], &alone["how"], &alone["least"]), (&json!(1), &json!("share"), &alone["bytes"]));
        // All of the table is its own: a mebibyte, and at most the space that rows do not fill.
        assert!((1 << 20..1_300_000).contains(&bytes(&alone, "bytes")), "{alone}");
        let statement = format!("GRANT SELECT ON pg_catalog.pg_largeobject TO {}", database.owner_role);
        assert_eq!(alone["statement"], json!(statement));

        // A neighbour's login has as many, and they are small.
        let login = Application::of(&database, &college).await.issued("app").await;
        write(&database, &login, "SELECT lo_from_bytea(0, 'x')").await;
        let survey = lane.survey(false).await;
        let small = surveyed(&survey, &college).unwrap_or_else(|| panic!("{survey}"))["large_objects"].clone();
        assert_eq!(bytes(&small, "count"), 1);
        assert!(bytes(&small, "bytes") > 500_000, "half of all: {small}");
        assert!(bytes(&small, "least") < 1000, "and no reason to take its writes: {small}");
        assert!(bytes(surveyed(&survey, &school).unwrap().get("large_objects").unwrap(), "least") < 1000);
        let (total, both) = (bytes(&survey, "storage_bytes"), bytes(&small, "bytes"));
        assert!(total >= 2 * both - 400, "{total}, and of large objects twice {both}");
        assert_eq!(lane.survey(false).await["tenants"], json!([]), "nothing happened since");

        // Who may read them knows better.
        database.admin.batch_execute(&statement).await.unwrap();
        let large = found(&lane, &school).await;
        assert_eq!(
            (&large["how"], &large["least"], &large["statement"]),
            (&json!("exact"), &large["bytes"], &Value::Null)
        );
        assert!((1 << 20..1_150_000).contains(&bytes(&large, "bytes")), "{large}");
        let small = found(&lane, &college).await;
        assert_eq!((&small["how"], &small["least"]), (&json!("exact"), &small["bytes"]));
        assert!(bytes(&small, "bytes") < 1000, "{small}");

        // What others write or own counts for no tenant here.
        database.admin.batch_execute("SELECT lo_from_bytea(0, convert_to(repeat('x', 100000), 'UTF8'))").await.unwrap();
        assert_eq!(found(&lane, &school).await, large);
        write(
            &database,
            &school.owner,
            "SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata WHERE lomowner = current_user::regrole",
        )
        .await;
        let survey = lane.survey(false).await;
        assert_eq!(surveyed(&survey, &school).unwrap()["large_objects"], Value::Null);
    })
    .await;
}

/// What a former tenant left free in the file counts for no tenant, and empty objects take room as well.
#[tokio::test]
async fn a_share_is_of_what_lives_and_many_empty_objects_take_room() {
    with_database(async |database| {
        let (school, college) = (database.tenant("school").await, database.tenant("college").await);
        let lane = Lane::claim(database.operator().await).await;
        write(&database, &school.owner, &object(4 << 20)).await;
        write(&database, &college.owner, "SELECT lo_from_bytea(0, 'x')").await;
        write(
            &database,
            &school.owner,
            "SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata WHERE lomowner = current_user::regrole",
        )
        .await;
        let left = found(&lane, &college).await;
        assert!(bytes(&left, "bytes") < 10_000, "{left}");
        write(&database, &school.owner, "SELECT count(lo_create(0)) FROM generate_series(1, 5000)").await;
        let many = found(&lane, &school).await;
        assert_eq!(bytes(&many, "count"), 5000);
        assert!((500_000..2_000_000).contains(&bytes(&many, "least")), "{many}");
    })
    .await;
}

/// Of tables that are too large some pages are read, and others' objects do not disturb that.
#[tokio::test]
#[ignore = "long: make test-long"]
async fn of_very_many_objects_a_sample_is_taken() {
    with_database(async |database| {
        let (school, college) = (database.tenant("school").await, database.tenant("college").await);
        let lane = Lane::claim(database.operator().await).await;
        database
            .admin
            .batch_execute(&format!("GRANT SELECT ON pg_largeobject TO {}", database.owner_role))
            .await
            .unwrap();
        write(&database, &school.owner, &object(64 << 20)).await;
        write(&database, &college.owner, "SELECT count(lo_from_bytea(0, 'x')) FROM generate_series(1, 1000000)").await;
        let started = std::time::Instant::now();
        let survey = lane.survey(true).await;
        let took = started.elapsed();
        println!("a survey over a million large objects took {took:?}");
        assert!(took.as_secs() < 5, "{took:?}");
        let (large, many) = (surveyed(&survey, &school).unwrap(), surveyed(&survey, &college).unwrap());
        let (large, many) = (&large["large_objects"], &many["large_objects"]);
        assert_eq!(large["how"], json!("sampled"), "{large}");
        assert!(((48 << 20)..(96 << 20)).contains(&bytes(large, "bytes")), "{large}");
        assert!((900_000..1_100_000).contains(&bytes(many, "count")), "{many}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_come_back_with_their_tenant_and_go_with_it() {
    with_world(|world: World| async move {
        let (tenant, other) = (world.tenant("school").await, world.tenant("other").await);
        let login = Application::of(&world.database, &tenant).await.issued("app").await;
        world
            .as_owner(
                &tenant,
                "SELECT lo_from_bytea(4711, 'kept'); SELECT count(lo_create(0)) FROM generate_series(1, 2200)",
            )
            .await;
        world.run(&format!("SET ROLE {login}; SELECT lo_from_bytea(4712, 'of the login'); RESET ROLE")).await;
        world.as_owner(&other, "SELECT lo_from_bytea(4713, 'of another')").await;
        world.as_owner(&other, &format!("GRANT SELECT ON LARGE OBJECT 4713 TO \"{}\"", tenant.owner)).await;
        let client = world.session().await;
        let (aside, _) = drop_by_hand(&world, &client, &tenant).await;
        assert_eq!(world.text("SELECT lo_get(4711)::text").await, "\\x6b657074");
        succeed(&client, "restore_set_aside", aside).await;
        world.as_owner(&tenant, "DO $$ BEGIN IF lo_get(4711) <> 'kept' THEN RAISE 'lost'; END IF; END $$").await;

        let (aside, _) = drop_by_hand(&world, &client, &tenant).await;
        let mut parts = Vec::new();
        let message = loop {
            let (status, message) = front(&client, "purge_schema_backup", aside).await;
            if status != "partial" {
                assert_eq!(status, "success", "{message}");
                break message;
            }
            parts.push(message);
        };
        let removed = parts.iter().filter(|part| part.contains("large objects removed")).count();
        assert!((3..30).contains(&removed), "{parts:?}, {message}");
        assert_eq!(world.text("SELECT string_agg(oid::text, ' ') FROM pg_largeobject_metadata").await, "4713");
        let roles = format!("SELECT count(*) FROM pg_roles WHERE rolname IN ('{}', '{login}')", tenant.owner);
        assert_eq!(world.text(&roles).await, "0");
        world.assert_clean().await;
    })
    .await;
}

/// One sample a day, of which the newer ones count more.
#[tokio::test]
async fn growth_is_a_few_numbers_of_a_tenant_with_a_quota() {
    with_database(async |database| {
        let (school, free) = (database.tenant("school").await, database.tenant("free").await);
        let lane = Lane::claim(database.operator().await).await;
        let quota = "UPDATE edu_matrix_hub_schema.tenant_schemas SET quota_limit = 1000000000 WHERE schema_name = 'school'";
        database.admin.batch_execute(quota).await.unwrap();
        let survey = lane.survey(true).await;
        assert_eq!(surveyed(&survey, &school).unwrap()["growth_per_day"], Value::Null);
        let known = "SELECT growth FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name =";
        let first: Value = database.one(&format!("{known} 'school'")).await;
        assert_eq!(first["bytes"], json!(0));
        assert_eq!(database.one::<Option<Value>>(&format!("{known} 'free'")).await, None);
        lane.survey(true).await;
        assert_eq!(database.one::<Value>(&format!("{known} 'school'")).await, first, "a day is not over");

        let days_ago = async |days: f64| {
            let sql = format!(
                "UPDATE edu_matrix_hub_schema.tenant_schemas SET growth_at = now() - interval '1 day' * {days} WHERE schema_name = 'school'"
            );
            database.admin.batch_execute(&sql).await.unwrap();
            let survey = lane.survey(true).await;
            surveyed(&survey, &school).unwrap()["growth_per_day"].as_i64().unwrap()
        };
        write(&database, &school.owner, "CREATE TABLE school.t AS SELECT n, repeat('x', 500) FROM generate_series(1, 4000) AS n").await;
        let size: i64 = database.one("SELECT pg_total_relation_size('school.t')").await;
        let growth = days_ago(2.0).await;
        assert!((growth - size / 2).abs() < 1000, "{growth} of {size} in two days");
        let slower = days_ago(3.0).await;
        assert!((slower - growth / 2).abs() < 1000, "nothing came for three days: {slower} after {growth}");
        assert!(days_ago(3000.0).await.abs() < 10);
        write(&database, &school.owner, "TRUNCATE school.t").await;
        assert!(days_ago(1.0).await < 0, "it becomes smaller");
        assert_eq!(surveyed(&lane.survey(true).await, &free).unwrap()["growth_per_day"], Value::Null);
    })
    .await;
}

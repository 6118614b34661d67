//! What is set aside keeps its name and its institution: no empty schema is made beside a tenant's data by accident.

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::backup_world::{World, drop_by_hand, front, id, observe, remade, succeed, wait_for_a_waiter, with_world};
use crate::support::{call, expect, owner, tenant_options};

/// Options of a new tenant for this object.
fn wanted(schema: &str, object: &Value, institution: Option<Uuid>) -> Value {
    json!({ "schema_name": schema, "owner": object, "institution_id": institution, "register_institution": true, "requested_by": "a test" })
}

async fn drop_as(client: &Client, schema_id: &Value, uid: &str) {
    let options = json!({ "schema_id": schema_id, "owner_uid": uid, "requested_by": "a test" });
    expect(&call(client, "set_aside_tenant_schema", &options).await, "success");
}

async fn purge(client: &Client, backup: Uuid) {
    for _ in 0..20 {
        match front(client, "purge_schema_backup", backup).await {
            (status, _) if status == "success" => return,
            (status, message) => assert_eq!(status, "partial", "{message}"),
        }
    }
    panic!("the purge never ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_free_again_when_what_was_set_aside_under_it_is_purged() {
    with_world(|world: World| async move {
        let session = world.session().await;
        let school = world.database.tenant("school").await;
        world.as_owner(&school, "CREATE TABLE school.t AS SELECT 7 AS a").await;
        drop_as(&session, &json!(school.id), "uid-school").await;
        let backup = id(&world.newest_backup().await["id"]);

        // Neither another object nor its own next life, nor a DBA by hand, gets an empty schema of that name.
        let stranger =
            json!({ "cluster": "cluster-1", "namespace": "team-b", "name": "school", "uid": "uid-stranger" });
        for object in [stranger.clone(), remade("school"), owner("another"), Value::Null] {
            let mut options = wanted("school", &object, None);
            for beside in [Value::Null, json!(Uuid::new_v4())] {
                options["beside"] = beside;
                let answer = call(&session, "create_tenant_schema", &options).await;
                assert_eq!(expect(&answer, "error"), "set_aside", "{object}");
                assert_eq!(answer["detail"]["backup_id"], json!(backup));
            }
            if !object.is_null() {
                let seen = observe(&session, &object, "school").await;
                assert_eq!(seen["set_aside"]["backup_id"], json!(backup));
                assert_eq!(seen["set_aside"]["holder"]["name"], "school");
            }
        }
        let institution = world.database.institution().await;
        let by_hand =
            "SELECT status || ' ' || message FROM edu_matrix_hub_schema.create_institution_schema($1, 'school')";
        let said: String = session.query_one(by_hand, &[&institution]).await.unwrap().get(0);
        assert!(said.starts_with("error") && said.contains(&format!("restore_set_aside('{backup}')")), "{said}");
        assert_eq!(world.text("SELECT count(*) FROM pg_namespace WHERE nspname = 'school'").await, "0");

        purge(&session, backup).await;
        assert_eq!(observe(&session, &stranger, "school").await["set_aside"], Value::Null);
        expect(&call(&session, "create_tenant_schema", &wanted("school", &stranger, None)).await, "success");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_as_known_stays_beside_a_new_schema() {
    with_world(|world: World| async move {
        let session = world.session().await;
        let school = world.database.tenant("school").await;
        drop_as(&session, &json!(school.id), "uid-school").await;
        let first = id(&world.newest_backup().await["id"]);
        let mut options = wanted("school", &remade("school"), None);
        options["beside"] = json!(first);
        let made = call(&session, "create_tenant_schema", &options).await;
        expect(&made, "success");
        drop_as(&session, &made["schema_id"], "uid-school-2").await;
        // What was said of the first says nothing about the second.
        assert_eq!(expect(&call(&session, "create_tenant_schema", &options).await, "error"), "set_aside");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_institution_whose_data_is_set_aside_gets_no_other_schema_by_accident() {
    with_world(|world: World| async move {
        let session = world.session().await;
        let school = world.tenant("school").await;
        let institution =
            world.text("SELECT institution_id FROM edu_matrix_hub_schema.tenant_schemas").await.parse().unwrap();
        let (backup, location) = drop_by_hand(&world, &session, &school).await;
        let options = wanted("academy", &owner("academy"), Some(institution));
        let answer = call(&session, "create_tenant_schema", &options).await;
        assert_eq!(expect(&answer, "error"), "set_aside");
        assert_eq!(
            (&answer["detail"]["location"], &answer["detail"]["holder"]["schema_name"]),
            (&json!(location), &json!("school"))
        );
        let mut request = owner("academy");
        request["institution_id"] = json!(institution);
        assert_eq!(observe(&session, &request, "academy").await["set_aside"]["backup_id"], json!(backup));
        // Another institution is free.
        expect(
            &call(&session, "create_tenant_schema", &wanted("college", &owner("college"), Some(Uuid::new_v4()))).await,
            "success",
        );
        // A schema that a user dropped is no data any more.
        world.run(&format!("DROP SCHEMA \"{location}\" CASCADE")).await;
        expect(&call(&session, "create_tenant_schema", &options).await, "success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_while_a_tenant_is_set_aside_does_not_get_what_it_had() {
    with_world(|world: World| async move {
        let dropping = world.session().await;
        let waiting = world.session().await;
        let institution = Some(world.database.institution().await);
        let made = call(&dropping, "create_tenant_schema", &wanted("school", &owner("school"), institution)).await;
        dropping.batch_execute("BEGIN").await.unwrap();
        drop_as(&dropping, &made["schema_id"], "uid-school").await;
        // Under another name, since the schema still stands under its own.
        let options = wanted("academy", &owner("academy"), institution);
        let creating = tokio::spawn(async move { call(&waiting, "create_tenant_schema", &options).await });
        wait_for_a_waiter(&world).await;
        dropping.batch_execute("COMMIT").await.unwrap();
        assert_eq!(expect(&creating.await.unwrap(), "error"), "set_aside");
        assert_eq!(
            world.text("SELECT string_agg(status, ' ') FROM edu_matrix_hub_schema.tenant_schemas").await,
            "dropped"
        );
        // The former owner is in no such queue: its data comes back.
        let backup = id(&world.newest_backup().await["id"]);
        let options = json!({ "backup_id": backup, "owner": remade("school") });
        expect(&call(&dropping, "restore_tenant_schema", &options).await, "success");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_made_again_once_for_each_time_that_it_was_asked_for() {
    with_world(|world: World| async move {
        let session = world.session().await;
        let school = world.database.tenant("school").await;
        let ask = |seen: i64| school.options(&json!({ "recreations": seen }));
        world.run("DROP SCHEMA school").await;
        expect(&call(&session, "recreate_tenant_schema", &ask(0)).await, "success");
        assert_eq!(observe(&session, &owner("school"), "school").await["own"]["recreations"], 1);
        expect(&call(&session, "recreate_tenant_schema", &ask(0)).await, "unchanged");
        world.run("DROP SCHEMA school").await;
        assert_eq!(expect(&call(&session, "recreate_tenant_schema", &ask(0)).await, "error"), "schema_missing");
        expect(&call(&session, "recreate_tenant_schema", &ask(1)).await, "success");
        // A status tells the id of a row that is another's now.
        let mut request = remade("another");
        request["schema_id"] = json!(school.id);
        assert_eq!(observe(&session, &request, "another").await["known"]["name"], "school");
        succeed(&session, "drop_institution_schema", world.tenant("hand").await.id).await;
        expect(&call(&session, "create_tenant_schema", &tenant_options("other")).await, "success");
    })
    .await;
}

//! A wave of deletions stops at the brake, and what was set aside goes when its time has come.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::backup_world::{Worker, World, id, observe, remade, succeed, wait_for_a_waiter, with_world};
use crate::support::{Tenant, expect};

const LONG_AGO: &str = "2001-01-01T00:00:00Z";

async fn set_aside(worker: &Worker, tenant: &Tenant, more: &Value) -> Value {
    let mut options = tenant.options(&json!({ "owner_uid": format!("uid-{}", tenant.schema) }));
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    worker.step("set_aside_tenant_schema", &options).await
}

fn brake(since: &str, limit: i64) -> Value {
    json!({ "brake": { "since": since, "limit": limit } })
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_a_tenant_stays_open_and_untouched() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let mut tenants = Vec::new();
        for name in ["one", "two", "three"] {
            tenants.push(world.database.tenant(name).await);
        }
        // What was made by hand is no TenantSchema's deletion.
        let by_hand = world.tenant("hand").await;
        succeed(&worker.client, "drop_institution_schema", by_hand.id).await;
        expect(&set_aside(&worker, &tenants[0], &brake(LONG_AGO, 1)).await, "success");

        let login = world.database.role("app", "LOGIN").await;
        world.run(&format!("GRANT {} TO {login}; UPDATE edu_matrix_hub_schema.tenant_schemas SET logins = '{{{login}}}' WHERE schema_name = 'two'", tenants[1].reader)).await;
        let app = world.database.connect(&login).await;
        let image = "SELECT to_jsonb(t) FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE schema_name = 'two'";
        let before = (world.database.acl("two").await, world.text(image).await);
        worker.client.batch_execute("BEGIN").await.unwrap();
        let refused = set_aside(&worker, &tenants[1], &brake(LONG_AGO, 1)).await;
        // Neither the tenant nor the count of the others is held on to.
        world
            .run(
                "SELECT FROM edu_matrix_hub_schema.registry_locks FOR UPDATE NOWAIT;
                 SELECT FROM edu_matrix_hub_schema.tenant_locks FOR UPDATE NOWAIT;
                 SELECT FROM edu_matrix_hub_schema.tenant_schemas FOR UPDATE NOWAIT",
            )
            .await;
        worker.client.batch_execute("COMMIT").await.unwrap();
        assert_eq!(expect(&refused, "error"), "deletion_brake");
        assert_eq!((&refused["detail"]["count"], &refused["detail"]["limit"]), (&json!(1), &json!(1)));
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with("cannot set aside schema \"two\": 1 tenants were set aside or dropped since 2001-01-01"), "{message}");
        // Time lets nothing pass: what is counted is the hour before the deletion.
        assert!(message.ends_with("and the limit is 1; it stays as it is until that is confirmed"), "{message}");
        let mut dropped = brake(LONG_AGO, 1);
        dropped["purge"] = json!(true);
        let message = set_aside(&worker, &tenants[1], &dropped).await["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("cannot drop schema \"two\": 1 tenants"), "{message}");
        assert_eq!((world.database.acl("two").await, world.text(image).await), before);
        app.query("SELECT 1", &[]).await.unwrap();
        world.run("UPDATE edu_matrix_hub_schema.tenant_schemas SET logins = '{}'").await;
        assert_eq!(expect(&set_aside(&worker, &tenants[1], &brake(LONG_AGO, 0)).await, "error"), "deletion_brake");

        // Said again of one that is dropped, it is done; what came back does not count; nor does what was before.
        expect(&set_aside(&worker, &tenants[0], &brake(LONG_AGO, 0)).await, "unchanged");
        let after = world.text("SELECT clock_timestamp()").await;
        expect(&set_aside(&worker, &tenants[1], &brake(&after, 1)).await, "success");
        assert_eq!(expect(&set_aside(&worker, &tenants[2], &brake(&after, 1)).await, "error"), "deletion_brake");
        let backup = id(&observe(&worker.client, &remade("two"), "two").await["set_aside"]["backup_id"]);
        succeed(&worker.client, "restore_set_aside", backup).await;
        expect(&set_aside(&worker, &tenants[2], &brake(&after, 1)).await, "success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_counted_by_the_clock_that_stamps_them() {
    with_world(|world: World| async move {
        // The API server's clock is two hours ahead of the database's, or two hours behind it.
        for (round, offset) in ["2 hours", "-2 hours"].into_iter().enumerate() {
            let worker = Worker::claim(world.session().await).await;
            world.run("UPDATE edu_matrix_hub_schema.tenant_schemas SET dropped_at = '2000-01-01', deletion_requested_at = NULL").await;
            let deleted = world.text(&format!("SELECT now() + interval '{offset}'")).await;
            let since = world.text(&format!("SELECT now() + interval '{offset}' - interval '1 hour'")).await;
            let mut ends = Vec::new();
            for number in 0..6 {
                let tenant = world.database.tenant(&format!("school{round}{number}")).await;
                let mut options = brake(&since, 3);
                options["deleted_at"] = json!(deleted);
                ends.push(set_aside(&worker, &tenant, &options).await["status"].as_str().unwrap().to_owned());
            }
            assert_eq!(ends, ["success", "success", "success", "error", "error", "error"], "{offset}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_brake_no_call_waits_for_the_count() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let (one, two) = (world.database.tenant("one").await, world.database.tenant("two").await);
        let holder = world.superuser().await;
        let hold = "BEGIN; SELECT FROM edu_matrix_hub_schema.registry_locks WHERE name = 'deletions' FOR UPDATE";
        holder.batch_execute(hold).await.unwrap();
        expect(&set_aside(&worker, &one, &json!({ "brake": null })).await, "success");
        expect(&set_aside(&worker, &two, &brake(LONG_AGO, 9)).await, "busy");
        holder.batch_execute("ROLLBACK").await.unwrap();
        expect(&set_aside(&worker, &two, &brake(LONG_AGO, 9)).await, "success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_takes_minutes_to_write_holds_up_neither_its_drop_nor_a_snapshot() {
    with_world(|world: World| async move {
        let tenant = world.database.tenant("school").await;
        world.run("CREATE TABLE public.shared (id int PRIMARY KEY); GRANT SELECT ON public.shared TO PUBLIC").await;
        let make = "DO $$ BEGIN
            EXECUTE 'CREATE TABLE school.w (' || (SELECT string_agg('c' || g || ' int', ', ') FROM generate_series(1, 1500) AS g) || ')';
            EXECUTE 'CREATE VIEW school.endless AS SELECT 1 AS one FROM (SELECT x.r FROM (SELECT row(1, 2) AS r) AS x, public.shared,
                (((school.w AS a JOIN school.w AS b ON true) AS j1 JOIN school.w AS c ON true) AS j2 JOIN school.w AS d ON true) AS j3) AS q WHERE '
                || (SELECT string_agg('(q.r).f1 = ' || g, ' OR ') FROM generate_series(1, 2000) AS g);
        END $$";
        world.as_owner(&tenant, make).await;
        let worker = Worker::claim(world.session().await).await;
        worker.client.batch_execute("SET statement_timeout = '20s'").await.unwrap();
        let message = succeed(&worker.client, "backup_institution_schema", tenant.id).await;
        assert!(message.contains("too long to be kept in its manifest are the definitions of its relations ("), "{message}");
        let answer = set_aside(&worker, &tenant, &brake(LONG_AGO, 9)).await;
        expect(&answer, "success");
        let left = &answer["detail"]["references_left"];
        assert_eq!(left[0]["name"], "school.endless", "{left}");
        assert_eq!(left[0]["note"], "it is too long, or one of too many, or takes too long to write");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_deletion_waits_for_what_another_reads() {
    with_world(|world: World| async move {
        let tenant = world.database.tenant("school").await;
        world.run("CREATE TABLE public.shared (id int PRIMARY KEY); GRANT SELECT ON public.shared TO PUBLIC").await;
        world.as_owner(&tenant, "CREATE VIEW school.v AS SELECT * FROM public.shared").await;
        let worker = Worker::claim(world.session().await).await;
        worker.client.batch_execute("SET statement_timeout = '2s'").await.unwrap();
        let holder = world.superuser().await;
        holder.batch_execute("BEGIN; LOCK TABLE public.shared").await.unwrap();
        let dropping = async {
            let answer = set_aside(&worker, &tenant, &brake(LONG_AGO, 9)).await;
            assert_eq!(expect(&answer, "error"), "cancelled");
        };
        let looking = async {
            wait_for_a_waiter(&world).await;
            let lock = "SELECT FROM edu_matrix_hub_schema.registry_locks WHERE name = 'deletions' FOR UPDATE NOWAIT";
            world.run(lock).await;
        };
        futures::join!(dropping, looking);

        // What did not come to an end for ten minutes is done without the texts.
        world.run("UPDATE edu_matrix_hub_schema.schema_operations SET started_at = started_at - interval '11 minutes' WHERE type = 'set_aside'").await;
        let answer = set_aside(&worker, &tenant, &brake(LONG_AGO, 9)).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["references_left"][0]["name"], "school.v", "{answer}");
        holder.batch_execute("ROLLBACK").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_deletions_at_once_as_many_go_as_may() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let mut attempts = Vec::new();
        for n in 0..12 {
            let tenant = world.database.tenant(&format!("school{n}")).await;
            attempts.push((worker.over(world.session().await), tenant));
        }
        let limit = brake(LONG_AGO, 5);
        let answers = join_all(attempts.iter().map(|(worker, tenant)| set_aside(worker, tenant, &limit))).await;
        let dropped = answers.iter().filter(|answer| answer["status"] == "success").count();
        assert_eq!(dropped, 4, "a namespace's share: {answers:?}");
        let refused = answers.iter().filter(|answer| answer["detail"]["reason"] == "deletion_brake" && answer["detail"]["count"] == 4);
        assert_eq!(refused.count(), 8);
        let living = "SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas AS t JOIN pg_namespace AS n ON n.nspname = t.schema_name
                      WHERE t.status = 'active'";
        assert_eq!(world.text(living).await, "8");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_stopped_by_its_own_wave_before_all_others_are() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let limit = brake(LONG_AGO, 10);
        let mut ends = Vec::new();
        for n in 0..11 {
            let tenant = world.database.tenant(&format!("school{n}")).await;
            if n >= 9 {
                let others = format!("UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_namespace = 'team-b' WHERE schema_name = '{}'", tenant.schema);
                world.run(&others).await;
            }
            ends.push(set_aside(&worker, &tenant, &limit).await);
        }
        let stopped = ends.iter().position(|end| end["status"] == "error").unwrap();
        assert_eq!(stopped, 8, "{ends:?}");
        assert_eq!(ends[8]["detail"], json!({ "reason": "deletion_brake", "count": 8, "limit": 8, "namespace": "team-a" }));
        let message = ends[8]["message"].as_str().unwrap();
        assert!(message.contains("8 tenants of namespace team-a were set aside") && message.contains("may use 8 of the limit of 10"), "{message}");
        // Another namespace still may, until the whole limit is used.
        assert!(ends[9..].iter().all(|end| end["status"] == "success"), "{ends:?}");
        let last = world.database.tenant("last").await;
        world.run("UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_namespace = 'team-c' WHERE schema_name = 'last'").await;
        let refused = set_aside(&worker, &last, &limit).await;
        assert_eq!((expect(&refused, "error"), &refused["detail"]["count"]), ("deletion_brake".to_owned(), &json!(10)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_for_some_days_is_purged_then_and_its_row_stays() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let (kept, tenant) = (world.database.tenant("kept").await, world.database.tenant("school").await);
        world.as_owner(&tenant, "CREATE TABLE school.t AS SELECT 1 AS a").await;
        expect(&set_aside(&worker, &kept, &json!({ "expire_after_days": null })).await, "success");
        let answer = set_aside(&worker, &tenant, &json!({ "expire_after_days": 30 })).await;
        expect(&answer, "success");
        let location = answer["detail"]["location"].as_str().unwrap();
        let expiry = "SELECT string_agg(concat_ws(' ', b.schema_name, b.expires_at - b.completed_at), ', ' ORDER BY b.schema_name)
                      FROM edu_matrix_hub_schema.schema_backups AS b";
        let expiry = world.text(expiry).await;
        assert!(expiry.starts_with("kept, school 30 days") || expiry.starts_with("kept, school 29 days 23:59:59"), "{expiry}");
        assert_eq!(worker.survey().await["jobs_waiting"], 0);

        world.run("UPDATE edu_matrix_hub_schema.schema_backups SET expires_at = now() - interval '1 second' WHERE schema_name = 'school'").await;
        let survey = worker.survey().await;
        assert_eq!((&survey["jobs_waiting"], &survey["set_aside_count"]), (&json!(1), &json!(2)));
        assert_eq!(worker.survey().await["jobs_waiting"], 1, "it is queued once");
        let job = worker.next_job().await;
        while worker.run(job).await["status"] == "partial" {}
        let left = format!(
            "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = '{location}') + (SELECT count(*) FROM pg_roles WHERE rolname = '{}')",
            tenant.owner
        );
        assert_eq!(world.text(&left).await, "0");
        let states = "SELECT string_agg(concat_ws(' ', t.schema_name, t.status, b.state), ', ' ORDER BY t.schema_name)
                      FROM edu_matrix_hub_schema.tenant_schemas AS t JOIN edu_matrix_hub_schema.schema_backups AS b ON b.schema_id = t.id";
        assert_eq!(world.text(states).await, "kept dropped complete, school dropped purged");
        let survey = worker.survey().await;
        assert_eq!((&survey["jobs_waiting"], &survey["set_aside_count"]), (&json!(0), &json!(1)));
        let mut object = remade("school");
        object["uid"] = json!("uid-school");
        let seen = observe(&worker.client, &object, "school").await;
        assert_eq!((&seen["set_aside"], &seen["tombstone"]["backup_state"]), (&json!(null), &json!("purged")));
    })
    .await;
}

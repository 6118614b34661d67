//! One database and more than one that wants it; and a database that is not the one that it was.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::backup_world::{Worker, World, id, with_world};
use crate::support::{call, expect};

const ONE: Uuid = Uuid::from_u128(1);
const TWO: Uuid = Uuid::from_u128(2);

/// A claim by this process, by this Lease, with what else it says.
async fn claim(world: &World, process: Uuid, lease: &str, more: Value) -> Value {
    let mut options = json!({
        "cluster": "cluster-1", "tenant_database": "default", "holder": format!("pod-{}", process.as_u128()),
        "claim_id": process, "lease": lease,
    });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call(&world.session().await, "claim_lane", &options).await
}

async fn worker(world: &World, claim: &Value) -> Worker {
    expect(claim, "success");
    let (epoch, installation) = (claim["detail"]["epoch"].as_i64().unwrap(), id(&claim["detail"]["installation_id"]));
    Worker { client: world.session().await, epoch, installation }
}

async fn beat(worker: &Worker, options: Value) -> Value {
    let sql = "SELECT edu_matrix_hub_schema.heartbeat_lane($1, $2, $3)";
    worker.client.query_one(sql, &[&worker.epoch, &worker.installation, &options]).await.unwrap().get(0)
}

/// The holder was heard of that long ago.
async fn last_heard(world: &World, seconds: i32) {
    let sql = format!(
        "UPDATE edu_matrix_hub_schema.installation SET heartbeat_at = clock_timestamp() - interval '{seconds} s'"
    );
    world.run(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_at_work_keeps_the_lane_and_nothing_is_taken_away_while_another_asks() {
    with_world(|world: World| async move {
        let first = worker(&world, &claim(&world, ONE, "ns-1/lease", json!({})).await).await;
        let (school, kept) = (world.database.tenant("school").await, world.database.tenant("kept").await);
        let drop = |uid: &str, purge: bool| json!({ "owner_uid": uid, "purge": purge });
        expect(&first.step("set_aside_tenant_schema", &school.options(&drop("uid-school", true))).await, "success");
        let log = "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations";
        let logged = world.text(log).await;

        let refused = claim(&world, TWO, "ns-2/lease", json!({})).await;
        assert_eq!(expect(&refused, "error"), "contested");
        let contest = &refused["detail"]["contest"];
        assert_eq!((&contest["holder"]["holder"], &contest["contender"]["holder"]), (&json!("pod-1"), &json!("pod-2")));
        assert_eq!(
            (&contest["holder"]["lease"], &contest["contender"]["lease"]),
            (&json!("ns-1/lease"), &json!("ns-2/lease"))
        );
        assert_eq!(expect(&claim(&world, TWO, "ns-2/lease", json!({})).await, "error"), "contested");
        assert_eq!(world.text(log).await, logged, "asking again is no news");
        assert_eq!(&beat(&first, json!({})).await["detail"]["contest"], contest, "both say the same");
        assert_eq!(&first.survey().await["contest"], contest);

        // The holder goes on, except that it takes nothing away.
        expect(&first.step("set_tenant_config", &kept.options(&json!({ "config": { "a": 1 } }))).await, "success");
        let refused = first.step("set_aside_tenant_schema", &kept.options(&drop("uid-kept", false))).await;
        assert_eq!(expect(&refused, "error"), "lane_contested");
        let refused = first.step("release_tenants", &json!({ "owner_uids": ["uid-kept"] })).await;
        assert_eq!(expect(&refused, "error"), "lane_contested");
        expect(&first.claim_job(&json!({ "holder": "a test" })).await, "unchanged");

        world
            .run("UPDATE edu_matrix_hub_schema.installation SET contested_at = clock_timestamp() - interval '31 s'")
            .await;
        assert_eq!(beat(&first, json!({})).await["detail"]["contest"], json!(null), "it is alone again");
        first.next_job().await;
        expect(&first.step("set_aside_tenant_schema", &kept.options(&drop("uid-kept", false))).await, "success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_turn_it_is() {
    with_world(|world: World| async move {
        let check = async |process, lease, more, heard: i32, expected: &str| {
            claim(&world, ONE, "ns/lease", json!({ "known_claim": TWO })).await;
            last_heard(&world, heard).await;
            let answer = claim(&world, process, lease, more).await;
            let found =
                if answer["status"] == "success" { "success" } else { answer["detail"]["reason"].as_str().unwrap() };
            assert_eq!(found, expected, "{lease} after {heard} s");
            // The next check begins with the first again.
            last_heard(&world, 100).await;
        };
        // Its own replica, whose Lease says that the holder is gone, and the process itself.
        check(TWO, "ns/lease", json!({ "known_claim": ONE }), 9, "success").await;
        check(ONE, "other/lease", json!({}), 0, "success").await;
        // A copy of the cluster has the same Lease, and knows the claim or not.
        check(TWO, "ns/lease", json!({ "known_claim": ONE }), 6, "contested").await;
        check(TWO, "ns/lease", json!({ "known_claim": Uuid::from_u128(9) }), 15, "contested").await;
        check(TWO, "ns/lease", json!({}), 15, "contested").await;
        check(TWO, "ns/lease", json!({}), 21, "success").await;
        // Another installation of the operator, which sees the same TenantDatabase.
        check(TWO, "other/lease", json!({ "known_claim": ONE }), 40, "contested").await;
        check(TWO, "other/lease", json!({ "known_claim": ONE }), 46, "success").await;
        // Clocks that were set back make no replica wait for ever.
        check(TWO, "other/lease", json!({}), -3600, "success").await;
        // A take-over does not take from a holder that is at work either.
        let epoch = world.text("SELECT epoch + 1 FROM edu_matrix_hub_schema.installation").await;
        let there = |epoch: &str| json!({ "cluster": "cluster-2", "take_over": format!("cluster-1/{epoch}") });
        check(TWO, "ns/lease", there(&epoch), 40, "contested").await;

        // An operator that leaves in order is not waited for.
        let holder = worker(&world, &claim(&world, ONE, "ns/lease", json!({})).await).await;
        assert_eq!(expect(&claim(&world, TWO, "other/lease", json!({})).await, "error"), "contested");
        expect(&beat(&holder, json!({ "leaving": true })).await, "success");
        expect(&claim(&world, TWO, "other/lease", json!({})).await, "success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_from_one_heard_of_a_moment_ago_takes_nothing_away_at_first() {
    with_world(|world: World| async move {
        expect(&claim(&world, ONE, "ns/lease", json!({})).await, "success");
        let tenant = world.database.tenant("school").await;
        last_heard(&world, 9).await;
        let next = worker(&world, &claim(&world, TWO, "ns/lease", json!({ "known_claim": ONE })).await).await;
        let drop = tenant.options(&json!({ "owner_uid": "uid-school" }));
        expect(&next.step("set_aside_tenant_schema", &drop).await, "busy");
        // The former one says that it is there: it is asked for, and neither goes on until one is alone.
        assert_eq!(expect(&claim(&world, ONE, "ns/lease", json!({ "known_claim": ONE })).await, "error"), "contested");
        assert_eq!(expect(&next.step("set_aside_tenant_schema", &drop).await, "error"), "lane_contested");
        world
            .run("UPDATE edu_matrix_hub_schema.installation SET contested_at = NULL, unsettled_until = clock_timestamp() - interval '1 s'")
            .await;
        expect(&next.step("set_aside_tenant_schema", &drop).await, "success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_counts_once() {
    with_world(|world: World| async move {
        expect(&claim(&world, ONE, "ns/lease", json!({})).await, "success");
        world.database.tenant("school").await;
        last_heard(&world, 100).await;
        let by = |cluster: &str, said: &str| json!({ "cluster": cluster, "take_over": said });
        for wrong in ["cluster-1", "cluster-1/2", "cluster-1/", "cluster-2/1", ""] {
            let refused = claim(&world, TWO, "ns/lease", by("cluster-2", wrong)).await;
            assert_eq!(
                (expect(&refused, "error").as_str(), &refused["detail"]["epoch"]),
                ("managed_elsewhere", &json!(1)),
                "{wrong}"
            );
        }
        let taken = claim(&world, TWO, "ns/lease", by("cluster-2", "cluster-1/1")).await;
        expect(&taken, "success");
        assert_eq!(taken["detail"]["quiet"]["reason"], "another TenantDatabase took it over");
        // Moved back, by what the other side was told; the words of the first time do nothing any more.
        last_heard(&world, 100).await;
        expect(&claim(&world, ONE, "ns/lease", by("cluster-1", "cluster-2/2")).await, "success");
        last_heard(&world, 100).await;
        let stale = claim(&world, TWO, "ns/lease", by("cluster-2", "cluster-1/1")).await;
        assert_eq!(expect(&stale, "error"), "managed_elsewhere");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_state_of_the_database_is_known_by_what_was_seen() {
    with_world(|world: World| async move {
        let lane = worker(&world, &claim(&world, ONE, "ns/lease", json!({})).await).await;
        let heard = beat(&lane, json!({})).await["detail"].clone();
        let (beats, start) = (heard["beats"].as_i64().unwrap(), heard["start"].as_i64().unwrap());
        assert!(lane.survey().await["beats"].as_i64().unwrap() > beats);

        let say = async |start: i64, beats: i64| {
            lane.client.batch_execute(&format!("SET edu_matrix.world = '{start}/{beats}'")).await.unwrap();
            let answer = beat(&lane, json!({})).await;
            if answer["status"] == "success" { String::new() } else { expect(&answer, "error") }
        };
        assert_eq!(say(start, beats).await, "");
        assert_eq!(say(start, beats + 100).await, "went_back");
        assert_eq!(say(start - 1, beats).await, "server_restarted");
        let ahead = Worker { epoch: lane.epoch + 1, installation: lane.installation, client: world.session().await };
        assert_eq!(
            expect(&beat(&ahead, json!({})).await, "error"),
            "stale_epoch",
            "a former release says nothing of the world"
        );
        ahead.client.batch_execute(&format!("SET edu_matrix.world = '{start}/{beats}'")).await.unwrap();
        assert_eq!(expect(&beat(&ahead, json!({})).await, "error"), "went_back");
        let drop = json!([{ "call": "set_aside_tenant_schema", "options": {} }]);
        let sql = "SELECT edu_matrix_hub_schema.apply_steps($1, $2, $3)";
        let refused: Value =
            ahead.client.query_one(sql, &[&ahead.epoch, &ahead.installation, &drop]).await.unwrap().get(0);
        assert_eq!(expect(&refused[0], "error"), "went_back", "no call acts on the older world");

        let went_back = async |known: Value| {
            let claim = claim(&world, ONE, "ns/lease", json!({ "known": known })).await;
            expect(&claim, "success");
            let quiet = &claim["detail"]["quiet"];
            let told = claim["detail"]["went_back"].as_str().unwrap_or_default().to_owned();
            assert_eq!(quiet.is_null(), told.is_empty(), "{claim}");
            world.run("UPDATE edu_matrix_hub_schema.installation SET quiet_until = NULL").await;
            (told, claim["detail"]["epoch"].as_i64().unwrap())
        };
        assert_eq!(went_back(json!(null)).await, (String::new(), 2));
        assert_eq!(went_back(json!({ "epoch": 2, "beats": 3 })).await, (String::new(), 3));
        let (told, epoch) = went_back(json!({ "epoch": 40, "beats": 3 })).await;
        assert!(told.contains("its epoch is 3, and 40 was seen"), "{told}");
        assert_eq!(epoch, 41, "above all that was ever seen");
        assert!(went_back(json!({ "epoch": 41, "beats": 4000 })).await.0.contains("4000 were seen"));
        world.run("UPDATE edu_matrix_hub_schema.installation SET timeline = timeline + 1").await;
        assert!(went_back(json!({})).await.0.contains("its timeline is"));
        assert_eq!(went_back(json!({})).await.0, "", "once");
        world.run("UPDATE edu_matrix_hub_schema.installation SET place = 'elsewhere'").await;
        assert!(went_back(json!({})).await.0.contains("a copy"));
    })
    .await;
}

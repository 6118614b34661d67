//! What the owner of a tenant gives to others in a manifest: given, waited for, refused and taken back.

use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, TenantSchema};

use crate::world::{World, condition};

/// The services of an application, each with a schema of its own.
const SERVICES: [&str; 6] = ["auth", "user", "course", "grade", "billing", "file"];

fn grant(name: &str, privileges: &[&str]) -> Value {
    json!({ "to": { "tenantSchema": { "name": name } }, "privileges": privileges })
}

fn spec(schema: &str, grants: &[Value]) -> Value {
    json!({ "schemaName": schema, "grants": grants })
}

fn to_role(name: &str, privileges: &[&str]) -> Value {
    json!({ "to": { "role": name }, "privileges": privileges })
}

/// What the status of a tenant tells of its grants, as `state: message`.
async fn told(world: &World, name: &str) -> Vec<String> {
    let tenant = world.api::<TenantSchema>().get(name).await.unwrap();
    let grants = tenant.status.map(|status| status.grants).unwrap_or_default();
    grants
        .iter()
        .map(|grant| format!("{:?}: {}", grant.state.unwrap(), grant.message.as_deref().unwrap_or_default()))
        .collect()
}

/// Waits until the status of a tenant tells of each of its grants what begins so.
async fn until_told(world: &World, name: &str, expected: &[&str]) {
    let mut last = Vec::new();
    let is_told = async || {
        last = told(world, name).await;
        last.len() == expected.len() && last.iter().zip(expected).all(|(told, wanted)| told.starts_with(wanted))
    };
    world.eventually(&format!("{name} tells {expected:?}"), is_told).await;
}

/// Whether a role of a tenant may do something, by trying it.
fn may(world: &World, tenant: &str, role: &str, statement: &str) -> bool {
    let role = world.tenant_role(tenant, role);
    world.postgres.psql(&world.database, &format!("BEGIN; SET LOCAL ROLE {role}; {statement}; ROLLBACK")).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_read_what_their_neighbours_owners_give_them() {
    let world = World::new(json!({})).await;
    // The one that reads all six does not exist yet, and neither does what one of them reads.
    for service in SERVICES {
        let mut grants = vec![grant("notification-service", &["Read"])];
        if service == "auth" {
            grants.push(grant("user-service", &["Read"]));
        }
        let (name, schema) = (format!("{service}-service"), format!("{service}_schema"));
        world.apply_tenant(&name, spec(&schema, &grants)).await;
        world.ready_tenant(&name).await;
        world.sql_as(&schema, "owner", &format!("CREATE TABLE {schema}.items AS SELECT 7 AS id"));
    }
    until_told(&world, "auth-service", &["Waiting: there is no tenant of TenantSchema team-", "Active: "]).await;
    assert!(may(&world, "user_schema", "reader", "SELECT id FROM auth_schema.items"));
    assert!(!may(&world, "user_schema", "reader", "SELECT id FROM grade_schema.items"));
    assert!(!may(&world, "user_schema", "writer", "INSERT INTO auth_schema.items VALUES (1)"));

    world.apply_tenant("notification-service", spec("notification_schema", &[])).await;
    world.ready_tenant("notification-service").await;
    for service in SERVICES {
        let expected: &[&str] = if service == "auth" { &["Active: ", "Active: "] } else { &["Active: "] };
        until_told(&world, &format!("{service}-service"), expected).await;
        let schema = format!("{service}_schema");
        // Future tables too.
        world.sql_as(&schema, "owner", &format!("CREATE TABLE {schema}.later (id int)"));
        for table in ["items", "later"] {
            assert!(may(&world, "notification_schema", "reader", &format!("SELECT id FROM {schema}.{table}")));
            assert!(!may(&world, "notification_schema", "owner", &format!("DELETE FROM {schema}.{table}")));
        }
        // A grantee that came is no change that a user made by hand.
        let events = world.events_about(&format!("{service}-service")).await;
        assert!(events.iter().all(|(reason, ..)| reason != "DriftRepaired"), "{events:?}");
    }

    // What a user takes by hand comes back, and what the spec takes stays away.
    let reader = world.tenant_role("notification_schema", "reader");
    world.sql(&format!("REVOKE SELECT ON grade_schema.items FROM {reader}"));
    let back = async || may(&world, "notification_schema", "reader", "SELECT id FROM grade_schema.items");
    world.eventually("the right is back", back).await;
    world.event("grade-service", "DriftRepaired", "grants: SELECT on table items is missing for").await;
    world.apply_tenant("grade-service", spec("grade_schema", &[])).await;
    let gone = async || !may(&world, "notification_schema", "reader", "SELECT id FROM grade_schema.items");
    world.eventually("the right is taken", gone).await;
    until_told(&world, "grade-service", &[]).await;

    // With the grantee its rights go, and come again with the next one of its name.
    world.delete_tenant("notification-service").await;
    let waits = "Waiting: there is no tenant of TenantSchema team-";
    for service in SERVICES.iter().filter(|service| **service != "grade") {
        let expected: &[&str] = if *service == "auth" { &[waits, "Active: "] } else { &[waits] };
        until_told(&world, &format!("{service}-service"), expected).await;
    }
    let rights = world.sql(
        "SELECT count(*) FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.relname = 'items' AND c.relnamespace::regnamespace::text \
         = 'file_schema' AND a.grantee::regrole::text LIKE 'notification%'",
    );
    assert_eq!(rights, "0");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_beyond_the_limits_is_refused_and_reads_the_same_whether_the_grantee_is_there_or_not() {
    let world = World::new(json!({})).await;
    let there = format!("{}-there", world.namespace);
    world.make_namespace(&there, json!({})).await;
    world.try_tenant_in(&there, "present", json!({ "schemaName": "present" })).await.unwrap();
    let elsewhere = Api::<TenantSchema>::namespaced(world.client.clone(), &there);
    world.until_ready(&elsewhere, "present", "True", "Succeeded").await;
    let to =
        |name: &str| json!({ "to": { "tenantSchema": { "name": name, "namespace": there } }, "privileges": ["Read"] });
    let grants = [to("present"), to("absent"), grant("school", &["Write"])];
    world.apply_tenant("school", spec("school", &grants)).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils (id int)");
    until_told(
        &world,
        "school",
        &["Refused: this database allows grants within namespace", "Refused: ", "Refused: a tenant has all"],
    )
    .await;
    let said = told(&world, "school").await;
    assert_eq!(said[0], said[1]);
    let read = "SELECT id FROM school.pupils";
    assert!(!may(&world, "present", "reader", read));

    world.apply_database(json!({ "limits": { "grants": "AllNamespaces" } })).await;
    until_told(&world, "school", &["Active: ", "Waiting: ", "Refused: "]).await;
    assert!(may(&world, "present", "reader", read));
    world.apply_database(json!({ "limits": { "grants": "None" } })).await;
    until_told(&world, "school", &["Refused: this database allows no grants", "Refused: ", "Refused: "]).await;
    assert!(!may(&world, "present", "reader", read));

    // More than the kind takes, and what is no grant.
    let many = vec![grant("other", &["Read"]); 200];
    for grants in [
        json!(many),
        json!([grant("other", &[])]),
        json!([grant("other", &["References"])]),
        json!([{ "privileges": ["Read"] }]),
    ] {
        let refused = world.try_tenant("school", json!({ "schemaName": "school", "grants": grants })).await;
        assert!(refused.is_err(), "{grants}");
    }
    world.apply_database(json!({})).await;
    // In circles, and on tables that there are not.
    world.apply_tenant("one", spec("one", &[grant("two", &["Read"])])).await;
    let mut named = grant("one", &["Read", "Write"]);
    named["tables"] = json!(["absent", "also_absent"]);
    world.apply_tenant("two", spec("two", &[named])).await;
    until_told(&world, "one", &["Active: "]).await;
    until_told(&world, "two", &["Active: 2 tables (absent, also_absent) not there"]).await;
    world.sql_as("two", "owner", "CREATE TABLE two.absent (id int); CREATE TABLE two.other (id int)");
    until_told(&world, "two", &["Active: 1 table (also_absent) not there"]).await;
    assert!(may(&world, "one", "writer", "INSERT INTO two.absent VALUES (1)"));
    assert!(!may(&world, "one", "writer", "SELECT id FROM two.other"));
    let (_, ready, _) = condition(&world.ready_tenant("two").await, "Ready").unwrap();
    assert_eq!(ready, "Succeeded");
    elsewhere.delete("present", &kube::api::DeleteParams::default()).await.unwrap();
    world.until_gone(&elsewhere, "present").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_survive_what_happens_to_their_grantor() {
    let world = World::new(json!({})).await;
    world.apply_tenant("reporting", json!({ "schemaName": "reporting" })).await;
    let grants = [grant("reporting", &["Read"])];
    world.apply_tenant("school", spec("school", &grants)).await;
    world.ready_tenant("reporting").await;
    until_told(&world, "school", &["Active: "]).await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils (id int)");
    let read = "SELECT id FROM school.pupils";
    let reads = async || may(&world, "reporting", "reader", read);
    assert!(reads().await);

    // A suspension closes the schema to grantees too, and a grant that ended meanwhile does not come back.
    let closed = json!({ "schemaName": "school", "grants": grants, "access": "Suspended" });
    world.apply_tenant("school", closed).await;
    world.eventually("closed", async || !reads().await).await;
    world.apply_tenant("school", spec("school", &grants)).await;
    world.eventually("open again", reads).await;

    // Set aside and taken back.
    let before = world.api::<TenantSchema>().get("school").await.unwrap().uid();
    world.delete_tenant("school").await;
    assert!(!reads().await);
    let object = spec("school", &grants);
    world.apply_annotated("school", object, json!({ "edumatrixhub.io/reclaim": "school" })).await;
    world.ready_tenant("school").await;
    assert_ne!(world.api::<TenantSchema>().get("school").await.unwrap().uid(), before);
    world.eventually("back", reads).await;
    until_told(&world, "school", &["Active: "]).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_that_the_platform_offers_get_grants_and_what_is_made_again_under_a_name_gets_none() {
    let mut world = World::new(json!({})).await;
    let (service, super_role) = (format!("{}_service", world.database), format!("{}_super", world.database));
    world.sql(&format!("CREATE ROLE {super_role} SUPERUSER"));
    let offer = |names: &[&String]| json!({ "grantableRoles": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() });
    let grants = [to_role(&service, &["Write"]), to_role(&super_role, &["Read"])];
    world.apply_tenant("school", spec("school", &grants)).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils (id int)");
    until_told(&world, "school", &["Refused: role ", "Refused: role "]).await;

    // An absent and a forbidden one read alike.
    world.apply_database(offer(&[&service, &super_role])).await;
    let absent = |name: &str| format!("Waiting: there is no role {name} that can have a grant; given when there is. ");
    until_told(&world, "school", &[&absent(&service), &absent(&super_role)]).await;
    let said = told(&world, "school").await;
    assert_eq!(said[0].replace(&service, ""), said[1].replace(&super_role, ""));

    world.sql(&format!("CREATE ROLE {service}"));
    until_told(&world, "school", &["Active: ", &absent(&super_role)]).await;
    let may = |statement: &str| {
        let text = format!("BEGIN; SET LOCAL ROLE {service}; {statement}; ROLLBACK");
        world.postgres.psql(&world.database, &text).is_ok()
    };
    assert!(may("INSERT INTO school.pupils VALUES (1)"));
    assert!(!may("TRUNCATE school.pupils"));

    // Made again it is another one, until a user says so.
    world.sql(&format!("DROP OWNED BY {service}; DROP ROLE {service}; CREATE ROLE {service}"));
    until_told(&world, "school", &[&format!("Waiting: role {service} was made again since"), "Waiting: "]).await;
    assert!(!may("SELECT id FROM school.pupils"));
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, "now").await;
    until_told(&world, "school", &["Active: ", "Waiting: "]).await;
    assert!(may("SELECT id FROM school.pupils"));

    // What is taken back by hand comes again, and what is not offered any more goes.
    world.sql(&format!("REVOKE INSERT ON school.pupils FROM {service}"));
    world.eventually("the right is back", async || may("INSERT INTO school.pupils VALUES (1)")).await;
    world.apply_database(offer(&[&super_role])).await;
    until_told(&world, "school", &["Refused: role ", "Waiting: "]).await;
    assert!(!may("SELECT id FROM school.pupils"));

    for to in [
        json!({}),
        json!({ "role": service, "tenantSchema": { "name": "other" } }),
        json!({ "role": "" }),
        json!({ "role": "a\nb" }),
    ] {
        let grants = json!([{ "to": to, "privileges": ["Read"] }]);
        let refused = world.try_tenant("school", json!({ "schemaName": "school", "grants": grants })).await;
        assert!(refused.is_err(), "{grants}");
    }
    world.apply_database(offer(&[&service])).await;
    until_told(&world, "school", &["Active: ", "Refused: "]).await;
    world.prove_fixpoint().await;
    world.finish().await;
}

//! A tenant that is read and not written: as its spec says, or as its quota does, which is enforced without going to and fro.

use jiff::Timestamp;
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{
        TenantSchema,
        tenant_schema::{Place, State},
    },
    frame::{Kind, Pass, Wish},
    tenant::plan::plan,
};

use crate::{ROW, answer, check, check_refused, golden, merge, resolved, row, seen, tenant};

const GIB: i64 = 1 << 30;

fn with_quota(enforcement: &str) -> TenantSchema {
    tenant(
        json!({ "schemaName": "school", "quota": { "limit": "1Gi", "enforcement": enforcement } }),
        json!({ "schemaId": ROW, "schemaName": "school" }),
    )
}

/// What uses this many percent of the limit, and is closed so far.
fn using(percent: i64, access: &str, cause: Value) -> Value {
    json!({ "own": row(json!({
        "quota_limit": GIB, "storage_bytes": (GIB * percent + 99) / 100, "access": access, "access_cause": cause,
        "status": if access == "Suspended" { "suspended" } else { "active" },
    })) })
}

#[test]
fn a_spec_makes_a_tenant_read_only_and_gives_writes_back() {
    let wants = |access: &str, told: &str| {
        let blocked = json!({ "cause": "Spec", "since": "1969-12-31T00:00:00Z" });
        tenant(json!({ "schemaName": "school", "access": access }), json!({ "state": told, "blocked": blocked }))
    };
    let kept =
        |access: &str, cause: Value| answer(json!({ "own": row(json!({ "access": access, "access_cause": cause })) }));
    check(
        "read_only",
        &tenant(json!({ "schemaName": "school", "access": "ReadOnly" }), json!(null)),
        &kept("ReadWrite", json!(null)),
    );
    check("read_only_kept", &wants("ReadOnly", "ReadOnly"), &kept("ReadOnly", json!("Spec")));
    check("read_only_ends", &wants("ReadWrite", "ReadOnly"), &kept("ReadOnly", json!("Spec")));
    let suspended = row(json!({ "access": "Suspended", "access_cause": "Spec", "status": "suspended" }));
    check("resumed_read_only", &wants("ReadOnly", "Suspended"), &answer(json!({ "own": suspended })));
    check(
        "create_read_only",
        &tenant(json!({ "schemaName": "school", "access": "ReadOnly" }), json!(null)),
        &answer(json!({})),
    );
}

#[test]
fn a_quota_is_enforced_and_the_message_says_how_it_ends() {
    let open = |percent| answer(using(percent, "ReadWrite", json!(null)));
    check("quota_reported", &with_quota("Report"), &open(120));
    check("quota_blocks", &with_quota("Block"), &open(100));
    check("quota_suspends", &with_quota("Suspend"), &open(110));
    check("quota_blocked_kept", &with_quota("Block"), &answer(using(95, "WriteBlocked", json!("Quota"))));
    let mut told = with_quota("Block");
    told.status.as_mut().unwrap().state = Some(State::WriteBlocked);
    check("quota_ends", &told, &answer(using(94, "WriteBlocked", json!("Quota"))));
}

/// The steps of access that a look at such a tenant comes to.
fn check_access(enforcement: &str, percent: i64, (access, cause): (&str, Value), expected: &str) {
    let desired = with_quota(enforcement).desired(&resolved(json!({}), 0)).unwrap();
    let plan = plan(&desired, &answer(using(percent, access, cause)).into());
    let found: Vec<_> = plan.steps().map(ToString::to_string).collect();
    let found = found.first().map_or("", |step| step.split([',', ':']).next().unwrap_or_default());
    assert_eq!(found, expected, "{enforcement} at {percent} % of a tenant that is {access}");
}

#[test]
fn what_a_quota_closed_opens_when_there_is_room_and_not_before() {
    let (open, blocked, shut) =
        (|| ("ReadWrite", json!(null)), || ("WriteBlocked", json!("Quota")), || ("Suspended", json!("Quota")));
    let (give_back, block, suspend, resume) = ("give writes back", "block writes", "suspend", "resume");
    for (enforcement, percent, is, expected) in [
        ("Report", 200, open(), ""),
        ("Report", 200, blocked(), give_back),
        ("Report", 200, shut(), resume),
        ("Block", 99, open(), ""),
        ("Block", 100, open(), block),
        ("Block", 200, open(), block),
        ("Block", 99, blocked(), ""),
        ("Block", 95, blocked(), ""),
        ("Block", 94, blocked(), give_back),
        ("Block", 200, shut(), "resume"),
        ("Suspend", 99, open(), ""),
        ("Suspend", 100, open(), block),
        ("Suspend", 109, blocked(), ""),
        ("Suspend", 110, blocked(), suspend),
        ("Suspend", 110, open(), suspend),
        ("Suspend", 109, shut(), ""),
        ("Suspend", 100, shut(), ""),
        ("Suspend", 99, shut(), resume),
        ("Suspend", 94, shut(), resume),
    ] {
        check_access(enforcement, percent, is, expected);
    }
}

/// A neighbour's may be the large ones.
#[test]
fn large_objects_that_are_estimated_by_number_take_no_writes() {
    let with = |least: i64| {
        let mut found = using(50, "ReadWrite", json!(null));
        let large = json!({ "count": 2, "bytes": GIB, "least": least, "how": "share",
                            "statement": "GRANT SELECT ON pg_catalog.pg_largeobject TO edu_matrix_owner" });
        merge(&mut found["own"], json!({ "large_objects": large }));
        answer(found)
    };
    check("quota_estimated", &with_quota("Block"), &with(360));
    check("quota_blocks_for_large_objects", &with_quota("Block"), &with(GIB));
}

/// What was measured for this look counts. An estimate does not make a tenant smaller than it was.
#[test]
fn what_is_measured_now_counts_and_an_estimate_makes_nothing_smaller() {
    let check = |surveyed: i64, measured: i64, exact: bool, expected: usize| {
        let desired = with_quota("Block").desired(&resolved(json!({}), 0)).unwrap();
        let mut found = using(surveyed, "ReadWrite", json!(null));
        let now = json!({ "at": "2026-12-31T00:00:00Z", "table_count": 2, "storage_bytes": GIB * measured / 100, "exact": exact });
        merge(&mut found["own"], json!({ "measured": now }));
        let plan = plan(&desired, &answer(found).into());
        assert_eq!(plan.steps().count(), expected, "{surveyed} {measured} {exact}");
    };
    check(90, 100, true, 1);
    check(90, 100, false, 1);
    check(100, 90, true, 0);
    check(100, 90, false, 1);
}

/// Whether a tenant of which a survey found this is looked at again in ten seconds.
#[test]
fn a_tenant_that_grows_and_is_close_to_its_limit_is_looked_at_sooner() {
    let check = |enforcement: &str, percent: i64, written_at: &str, cause: Value, expected: bool| {
        let tenant = with_quota(enforcement);
        let desired = tenant.desired(&resolved(json!({}), 0)).unwrap();
        let is = if cause.is_null() { "ReadWrite" } else { "WriteBlocked" };
        let mut found = using(percent, is, cause);
        merge(&mut found["own"], json!({ "usage_at": written_at }));
        let observed = answer(found).into();
        let applied = tenant_schema_operator::plan::Applied::nothing();
        let place = Place { host: "db".to_owned(), port: 5432, database: "app".to_owned(), ..Place::default() };
        let pass = Pass::Applied {
            wish: Wish::Keep(&desired),
            observed: &observed,
            applied: &applied,
            database: "default",
            place: &place,
        };
        let due = tenant.status_of(&pass, Timestamp::UNIX_EPOCH).due;
        assert_eq!(due.is_some(), expected, "{enforcement} {percent} {written_at}");
    };
    let (lately, before) = ("2026-12-30T23:55:00Z", "2026-12-30T23:45:00Z");
    check("Block", 90, lately, json!(null), true);
    check("Suspend", 99, lately, json!(null), true);
    check("Block", 89, lately, json!(null), false);
    check("Block", 95, before, json!(null), false);
    check("Report", 95, lately, json!(null), false);
    check("Block", 97, lately, json!("Quota"), false);
}

#[test]
fn the_strongest_of_spec_quota_and_institution_counts() {
    let mut spec = with_quota("Block");
    spec.spec.access = Some(tenant_schema_operator::api::tenant_schema::Access::ReadOnly);
    check("quota_and_read_only", &spec, &answer(using(120, "WriteBlocked", json!("Quota"))));
    spec.spec.access = Some(tenant_schema_operator::api::tenant_schema::Access::Suspended);
    check("quota_and_suspended", &spec, &answer(using(120, "Suspended", json!("Spec"))));
}

#[test]
fn a_database_may_ask_for_more_than_a_tenant_wants() {
    let limits = json!({ "limits": { "enforcementAtLeast": "Block" } });
    let new = |quota: Value| tenant(json!({ "schemaName": "school", "quota": quota }), json!(null));
    let less = new(json!({ "limit": "1Gi", "enforcement": "Report" }));
    check_refused(
        &less,
        &resolved(limits.clone(), 0),
        "LimitExceeded",
        &["spec.quota.enforcement Report", "set it to Block"],
    );
    let check = |quota: Value, expected: &str| {
        let desired = new(quota).desired(&resolved(limits.clone(), 0)).unwrap();
        assert_eq!(
            desired.effective.enforcement.map(tenant_schema_operator::api::policy::Enforcement::as_str),
            Some(expected)
        );
    };
    check(json!({ "limit": "1Gi" }), "Block");
    check(json!({ "limit": "1Gi", "enforcement": "Suspend" }), "Suspend");
    let known = with_quota("Report");
    let desired = known.desired(&resolved(limits, 0)).unwrap();
    golden(
        "quota_enforced_by_the_database",
        &seen(&known, Wish::Keep(&desired), &answer(using(120, "ReadWrite", json!(null))).into()),
    );
}

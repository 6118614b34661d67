//! What applications log in with: issued with the tenant, published in its Secret, renewed, closed, and never more than once for
//! one reason.

use jiff::Timestamp;
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{ABANDON, REVOKE_CREDENTIALS, ROTATE_REQUESTED_AT, TenantSchema, condition::Reason},
    contract::{Purpose, TenantAnswer},
    frame::{Kind, Pass, Wish},
    plan::{Applied, Effect},
    tenant::{credential::SecretSeen, observe::Observed, resolve::Resolved},
};

use super::statuses::place;
use crate::{INSTITUTION, ROW, UID, annotated, answer, check, deleted, golden, merge, resolved, row, seen, tenant};

/// The credential that the registry has.
const ISSUED: &str = "33333333-3333-4333-8333-333333333333";

/// A tenant whose applications are to log in; `told` is what its status tells, `change` what else its spec has.
fn asked(told: Value, change: Value) -> TenantSchema {
    let mut spec = json!({ "schemaName": "school", "connectionSecret": { "name": "school-db" } });
    merge(&mut spec, change);
    let status = json!({ "schemaId": ROW, "schemaName": "school", "credentials": told });
    tenant(spec, if told.is_null() { json!(null) } else { status })
}

/// What a status tells of a password that was published three weeks ago.
fn told(change: Value) -> Value {
    let mut told = json!({
        "login": "school_app_a", "credentialId": ISSUED, "secretName": "school-db", "secretUid": "uid-secret",
        "publishedTime": "2026-12-10T00:00:00Z", "nextRotationTime": "2027-01-09T00:00:00Z",
    });
    merge(&mut told, change);
    told
}

/// The tenant's row with its credential.
fn kept(change: Value) -> Value {
    let mut credential = json!({
        "purpose": "connection", "login": "school_app_a", "credential_id": ISSUED, "issued_at": "2026-12-10T00:00:00Z", "previous_login": null,
        "previous_until": null, "previous_closed_at": null, "withdrawn_at": null, "connection_limit": 20,
        "statement_timeout_seconds": 0, "idle_in_transaction_timeout_seconds": 300,
    });
    merge(&mut credential, change);
    json!({ "own": row(json!({ "credentials": [credential] })) })
}

/// A former login that is open until then.
fn former(until: &str) -> Value {
    json!({ "previous_login": "school_app_b", "previous_until": until })
}

/// The plan and status with what was seen of the Secret.
fn check_secret(file: &str, tenant: &TenantSchema, row: Value, secret: SecretSeen) {
    let desired = tenant.desired(&resolved(json!({}), 0)).unwrap();
    let observed = Observed { secrets: vec![(Purpose::Connection, secret)], ..answer(row).into() };
    golden(file, &seen(tenant, Wish::Keep(&desired), &observed));
}

fn same() -> SecretSeen {
    SecretSeen::Same { uid: Some("uid-secret".to_owned()) }
}

#[test]
fn a_new_tenant_gets_its_login_in_the_same_call() {
    check("credential_create", &asked(json!(null), json!({})), &answer(json!({})));
}

#[test]
fn a_new_tenant_that_is_closed_gets_no_login() {
    let suspended = answer(json!({ "institution_known": true, "institution_status": "suspended" }));
    check("credential_create_closed", &asked(json!(null), json!({ "institutionId": INSTITUTION })), &suspended);
}

#[test]
fn a_tenant_that_was_there_before_gets_a_login() {
    check("credential_first", &asked(json!(null), json!({})), &answer(json!({ "own": row(json!({})) })));
}

#[test]
fn a_tenant_with_its_password_in_its_secret_has_nothing_to_do() {
    check("credential_unchanged", &asked(told(json!({})), json!({})), &answer(kept(json!({}))));
    check_secret("credential_unchanged", &asked(told(json!({})), json!({})), kept(json!({})), same());
}

#[test]
fn a_password_is_replaced_when_its_time_has_come() {
    let spec = json!({ "credentials": { "rotationPeriodDays": 21, "rotationGraceSeconds": 60, "statementTimeoutSeconds": 5 } });
    check("credential_rotation", &asked(told(json!({})), spec), &answer(kept(json!({}))));
}

#[test]
fn a_password_that_was_changed_from_inside_is_replaced_and_told() {
    let changed = kept(json!({ "password_changed": true }));
    check("credential_password_changed", &asked(told(json!({})), json!({})), &answer(changed));
}

#[test]
fn a_rotation_that_is_asked_for_within_a_grace_ends_that_first() {
    let tenant = annotated(asked(told(json!({})), json!({})), ROTATE_REQUESTED_AT, "2026-12-30T00:00:00Z");
    check("credential_rotation_in_grace", &tenant, &answer(kept(former("2026-12-31T00:30:00Z"))));
}

#[test]
fn a_rotation_that_was_asked_for_before_the_last_one_does_nothing() {
    for asked_at in ["2026-12-10T00:00:00Z", "2027-12-10T00:00:00Z", "soon"] {
        let tenant = annotated(asked(told(json!({})), json!({})), ROTATE_REQUESTED_AT, asked_at);
        let desired = tenant.desired(&resolved(json!({}), 0)).unwrap();
        let plan = TenantSchema::plan(Wish::Keep(&desired), &answer(kept(json!({}))).into());
        assert!(plan.is_empty(), "{asked_at}: {plan}");
    }
}

#[test]
fn a_former_login_stays_open_for_its_grace_and_is_closed_then() {
    let tenant = asked(told(json!({ "previousUntil": "2026-12-31T00:30:00Z" })), json!({}));
    check("credential_in_grace", &tenant, &answer(kept(former("2026-12-31T00:30:00Z"))));
    check("credential_grace_over", &tenant, &answer(kept(former("2026-12-30T23:59:59Z"))));
    let mut half = former("2026-12-31T00:30:00Z");
    merge(&mut half, json!({ "previous_closed_at": "2026-12-30T23:59:59Z" }));
    check("credential_grace_over", &tenant, &answer(kept(half)));
}

#[test]
fn a_leaked_password_is_revoked_once_and_replaced_in_the_same_pass() {
    let leaked = |told| annotated(asked(told, json!({})), REVOKE_CREDENTIALS, "school");
    check("credential_revoked", &leaked(told(json!({}))), &answer(kept(former("2026-12-31T00:30:00Z"))));
    check("credential_revoked_before", &leaked(told(json!({ "revoked": "school" }))), &answer(kept(json!({}))));
    // It was there before the tenant had anything to revoke.
    check("credential_revoked_too_early", &leaked(json!(null)), &answer(json!({})));
    let other = annotated(asked(told(json!({})), json!({})), REVOKE_CREDENTIALS, "another");
    check("credential_unchanged", &other, &answer(kept(json!({}))));
}

#[test]
fn a_revocation_that_is_over_is_forgotten() {
    check("credential_unchanged", &asked(told(json!({ "revoked": "school" })), json!({})), &answer(kept(json!({}))));
}

#[test]
fn a_suspended_tenant_gets_no_password_and_its_leaked_one_is_revoked_all_the_same() {
    let suspended = |change: Value| {
        let mut row = kept(change);
        merge(&mut row["own"], json!({ "access": "Suspended", "status": "suspended" }));
        answer(row)
    };
    let due = json!({ "access": "Suspended", "credentials": { "rotationPeriodDays": 1 } });
    check("credential_suspended", &asked(told(json!({})), due.clone()), &suspended(json!({})));
    let leaked = annotated(asked(told(json!({})), due), REVOKE_CREDENTIALS, "school");
    check("credential_revoked_suspended", &leaked, &suspended(json!({})));
}

#[test]
fn what_was_withdrawn_is_finished_before_another_password_is_issued() {
    let half = json!({ "withdrawn_at": "2026-12-30T00:00:00Z" });
    check("credential_of_an_earlier_life", &asked(json!(null), json!({})), &answer(kept(half)));
}

#[test]
fn a_spec_without_a_secret_closes_the_logins() {
    let mut tenant = asked(told(json!({})), json!({}));
    tenant.spec.connection_secret = None;
    check("credential_not_wanted", &tenant, &answer(kept(json!({}))));
}

#[test]
fn other_limits_need_no_other_password() {
    let spec = json!({ "credentials": { "connectionLimit": 5 } });
    check("credential_limits", &asked(told(json!({})), spec), &answer(kept(json!({}))));
}

#[test]
fn a_secret_that_is_gone_or_leads_elsewhere_is_written_again() {
    check_secret("credential_secret_gone", &asked(told(json!({})), json!({})), kept(json!({})), SecretSeen::Gone);
    check_secret("credential_secret_other", &asked(told(json!({})), json!({})), kept(json!({})), SecretSeen::Other);
}

#[test]
fn a_secret_of_another_name_is_written_and_the_former_login_lives_for_the_grace() {
    let tenant = asked(told(json!({ "secretName": "former" })), json!({}));
    check_secret("credential_secret_renamed", &tenant, kept(json!({})), SecretSeen::Gone);
}

#[test]
fn a_password_that_reached_no_secret_is_issued_again_and_the_former_login_stays() {
    let other = json!({ "credentialId": "66666666-6666-4666-8666-666666666666" });
    let row = || kept(former("2026-12-31T00:30:00Z"));
    check_secret("credential_unpublished", &asked(told(other.clone()), json!({})), row(), SecretSeen::Other);
    check_secret("credential_untold", &asked(told(other.clone()), json!({})), row(), same());
    check_secret("credential_not_looked", &asked(told(other), json!({})), row(), SecretSeen::NotLooked);
}

#[test]
fn what_an_earlier_object_published_is_replaced_and_its_login_lives_for_the_grace() {
    check_secret("credential_taken_back", &asked(json!(null), json!({})), kept(json!({})), same());
    // What has leaked before this object was there is closed by the next pass, which knows it from the status.
    let revoked = annotated(asked(json!(null), json!({})), REVOKE_CREDENTIALS, "school");
    check_secret("credential_taken_back_revoked", &revoked, kept(json!({})), same());
}

#[test]
fn a_secret_that_is_refused_is_told_and_no_password_is_issued_for_it() {
    let refused = SecretSeen::Refused {
        reason: Reason::SecretConflict,
        message: "a Secret school-db is there that is not this tenant's: choose another name".to_owned(),
    };
    let mut row = kept(json!({ "credential_id": "66666666-6666-4666-8666-666666666666" }));
    merge(&mut row["own"], json!({ "quota_limit": 1 }));
    check_secret("credential_refused", &asked(told(json!({})), json!({})), row, refused.clone());
    // What is published goes on as it is: its grace ends, and its limits change.
    let spec = json!({ "credentials": { "connectionLimit": 5 } });
    let over = kept(former("2026-12-30T00:00:00Z"));
    check_secret("credential_refused_after_a_grace", &asked(told(json!({})), spec), over, refused);
}

#[test]
fn what_was_done_and_not_told_is_not_done_again() {
    let before = told(json!({ "credentialId": "66666666-6666-4666-8666-666666666666" }));
    let rotate = annotated(asked(before.clone(), json!({})), ROTATE_REQUESTED_AT, "2026-12-30T00:00:00Z");
    let mut row = former("2026-12-31T00:30:00Z");
    row["issued_at"] = json!("2026-12-30T00:00:01Z");
    check_secret("credential_rotated_untold", &rotate, kept(row), same());
    let revoke = annotated(asked(before, json!({})), REVOKE_CREDENTIALS, "school");
    check_secret("credential_revoked_untold", &revoke, kept(json!({})), same());
}

#[test]
fn what_an_earlier_object_published_elsewhere_keeps_its_login_for_the_grace() {
    let row = kept(former("2026-12-31T00:30:00Z"));
    check_secret("credential_taken_back_elsewhere", &asked(json!(null), json!({})), row, SecretSeen::Other);
}

#[test]
fn defaults_and_limits_of_the_database_hold() {
    let database = json!({
        "defaults": { "connectionSecret": { "nameSuffix": "-pg" }, "credentials": { "connectionLimit": 50, "rotationPeriodDays": 7 } },
        "limits": { "maxConnectionLimit": 30, "maxRotationPeriodDays": 14 },
        "clientEndpoint": { "host": "pooler", "port": 6432 },
    });
    let wanted = |spec: Value| {
        let mut full = json!({ "schemaName": "school" });
        merge(&mut full, spec);
        tenant(full, json!(null)).desired(&resolved(database.clone(), 0)).map(|desired| {
            let place = desired.place(&place());
            let credential = desired.logins[0].wanted.clone().unwrap();
            let days = credential.period.as_hours() / 24;
            (credential.secret.name, credential.limits.connection_limit, days, place.host)
        })
    };
    let expected = |name: &str, limit: i32, days: i64| Ok((name.to_owned(), limit, days, "pooler".to_owned()));
    assert_eq!(wanted(json!({})), expected("school-pg", 30, 7));
    let named = json!({ "connectionSecret": { "name": "own" }, "credentials": { "connectionLimit": 5 } });
    assert_eq!(wanted(named), expected("own", 5, 7));
    let refused = wanted(json!({ "credentials": { "rotationPeriodDays": 90 } })).unwrap_err();
    assert_eq!(refused.reason, Reason::LimitExceeded);
    let words = "spec.credentials.rotationPeriodDays 90 is more than the 14 allowed here; set it to at most 14";
    assert_eq!(refused.message, words);
}

#[test]
fn a_secret_of_a_tenant_that_is_retained_has_no_owner() {
    let retained = json!({ "deletionPolicy": "Retain" });
    check("credential_retained", &asked(told(json!({})), retained.clone()), &answer(kept(json!({}))));
    let stays = told(json!({ "secretRetention": "Retained" }));
    check("credential_retained_before", &asked(stays.clone(), retained), &answer(kept(json!({}))));
    check("credential_owned_again", &asked(stays, json!({})), &answer(kept(json!({}))));
}

#[test]
fn a_tenant_that_stays_when_it_is_deleted_leaves_its_secret_once() {
    let leave = |told, row: Value| {
        let tenant = deleted(&asked(told, json!({ "deletionPolicy": "Retain" })));
        let leave = tenant.removal(&resolved(json!({}), 0));
        TenantSchema::plan(Wish::End(&leave), &answer(row).into()).to_string()
    };
    golden("credential_left", &leave(told(json!({})), kept(json!({}))));
    assert!(
        !leave(told(json!({ "secretRetention": "Retained" })), kept(json!({}))).contains("Secret"),
        "it has no owner"
    );
    assert!(!leave(json!(null), kept(json!({}))).contains("Secret"), "there is none");
    let next = json!({ "credential_id": "66666666-6666-4666-8666-666666666666" });
    assert!(!leave(told(json!({})), kept(next)).contains("Secret"), "an earlier try did it");
}

#[test]
fn a_secret_is_left_to_the_object_of_the_namespace_that_is_given_the_tenant() {
    let left = |told: Value, to: (&str, &str)| {
        let transfer = json!({ "transfers": [{
            "schemaName": "school", "from": { "namespace": "team-a", "name": "school" }, "to": { "namespace": to.0, "name": to.1 },
        }]});
        let tenant = deleted(&asked(told, json!({})));
        let leave = tenant.removal(&resolved(transfer, 0));
        TenantSchema::plan(Wish::End(&leave), &answer(kept(json!({}))).into()).effects
    };
    let given_to = |effects: Vec<Effect>| {
        let published = effects.into_iter().find_map(|effect| match effect {
            Effect::Publish { secret, .. } => Some(*secret),
            _ => None,
        });
        published.map(|secret| (secret.stays, secret.given_to))
    };
    let (owned, stays) = (told(json!({})), told(json!({ "secretRetention": "Retained" })));
    let academy = Some("academy".to_owned());
    assert_eq!(given_to(left(owned.clone(), ("team-a", "academy"))), Some((true, academy)));
    assert_eq!(given_to(left(owned, ("team-b", "school"))), Some((true, None)), "it stays until the tenant is taken");
    for to in [("team-a", "academy"), ("team-b", "school")] {
        assert_eq!(given_to(left(stays.clone(), to)), None, "it stays as it is");
    }
}

#[test]
fn annotations_that_do_nothing_are_told_with_the_right_value() {
    let check = |key: &str, value: &str, has_secret: bool, expected: &str| {
        let mut tenant = annotated(asked(told(json!({})), json!({})), key, value);
        if !has_secret {
            tenant.spec.connection_secret = None;
            tenant.status = None;
        }
        let desired = tenant.desired(&resolved(json!({}), 0)).unwrap();
        let (observed, place) = (Observed::from(answer(kept(json!({})))), place());
        let applied = Applied::nothing();
        let wish = Wish::Keep(&desired);
        let pass = Pass::Applied { wish, observed: &observed, applied: &applied, database: "default", place: &place };
        let status = tenant.status_of(&pass, Timestamp::UNIX_EPOCH).status;
        let message = &status.conditions[0].message;
        let said = message.split_once("; the annotation ").map_or("", |(_, said)| said);
        assert_eq!(said, expected, "{key}={value}");
    };
    let (rotate, revoke) = (ROTATE_REQUESTED_AT, REVOKE_CREDENTIALS);
    check(rotate, "2026-12-01T00:00:00Z", true, "");
    check(revoke, "school", true, "");
    check(
        rotate,
        "now",
        true,
        "edumatrixhub.io/rotate-requested-at does nothing: its value is no time such as 2026-01-31T12:00:00Z",
    );
    check(
        revoke,
        "yes",
        true,
        "edumatrixhub.io/revoke-credentials does nothing: its value is not the name of the schema: kubectl -n team-a annotate \
         tenantschema school --overwrite edumatrixhub.io/revoke-credentials=school",
    );
    check(
        revoke,
        "school",
        false,
        "edumatrixhub.io/revoke-credentials does nothing: the spec has neither connectionSecret nor migrationSecret",
    );
}

/// A tenant whose migrations are to log in as well, and what its status tells of them.
fn migrating(told_of_migrations: Value) -> TenantSchema {
    let change =
        json!({ "migrationSecret": { "name": "school-owner" }, "credentials": { "statementTimeoutSeconds": 5 } });
    let mut tenant = asked(told(json!({})), change);
    let told = serde_json::from_value(told_of_migrations).unwrap();
    tenant.status.as_mut().unwrap().migration_credentials = told;
    tenant
}

/// What the status tells of a password for migrations.
fn told_of_migrations(published: &str) -> Value {
    let change = json!({ "login": "school_mig_a", "secretName": "school-owner", "publishedTime": published });
    told(change)
}

/// The row with a password for both.
fn both() -> Value {
    let mut row = kept(json!({ "statement_timeout_seconds": 5 }));
    let mut migration = row["own"]["credentials"][0].clone();
    merge(&mut migration, json!({ "purpose": "migration", "login": "school_mig_a", "statement_timeout_seconds": 0 }));
    row["own"]["credentials"].as_array_mut().unwrap().push(migration);
    row
}

#[test]
fn applications_and_migrations_get_a_password_each_in_the_call_that_makes_the_tenant() {
    let spec =
        json!({ "migrationSecret": { "name": "school-owner" }, "credentials": { "statementTimeoutSeconds": 5 } });
    check("credential_create_both", &asked(json!(null), spec), &answer(json!({})));
}

#[test]
fn migrations_get_a_password_beside_that_of_applications_and_each_is_renewed_in_its_time() {
    let first = kept(json!({ "statement_timeout_seconds": 5 }));
    check("credential_migration_first", &migrating(json!(null)), &answer(first));
    let due = migrating(told_of_migrations("2026-11-01T00:00:00Z"));
    check("credential_migration_rotation", &due, &answer(both()));
    let current = migrating(told_of_migrations("2026-12-10T00:00:00Z"));
    let desired = current.desired(&resolved(json!({}), 0)).unwrap();
    let plan = TenantSchema::plan(Wish::Keep(&desired), &answer(both()).into());
    assert!(plan.is_empty(), "{plan}");
}

#[test]
fn a_leak_closes_the_logins_of_applications_and_migrations() {
    let leaked = annotated(migrating(told_of_migrations("2026-12-10T00:00:00Z")), REVOKE_CREDENTIALS, "school");
    check("credential_migration_revoked", &leaked, &answer(both()));
}

#[test]
fn migrations_whose_secret_is_not_wanted_any_more_are_shut_out_and_applications_go_on() {
    let mut tenant = migrating(told_of_migrations("2026-12-10T00:00:00Z"));
    tenant.spec.migration_secret = None;
    check("credential_migration_not_wanted", &tenant, &answer(both()));
}

/// The plan while it cannot be said whom readers of the Secret may trust.
fn check_unread(file: &str, tenant: &TenantSchema, observed: &TenantAnswer) {
    let authority = "Secret operators/pooler, which spec.clientEndpoint.caSecretRef names, does not exist; make it of the authority's \
                     certificate: kubectl -n operators create secret generic pooler --from-file=ca.crt=ca.pem";
    let unread = Resolved { unread_authority: Some(authority.to_owned()), ..resolved(json!({}), 0) };
    let observed = observed.clone().into();
    if tenant.metadata.deletion_timestamp.is_some() {
        golden(file, &seen(tenant, Wish::End(&tenant.removal(&unread)), &observed));
    } else {
        golden(file, &seen(tenant, Wish::Keep(&tenant.desired(&unread).unwrap()), &observed));
    }
}

#[test]
fn without_the_authority_of_applications_their_secrets_wait_and_nothing_else_does() {
    check_unread("credential_unread_create", &asked(json!(null), json!({})), &answer(json!({})));
    check_unread("credential_unread_first", &asked(json!(null), json!({})), &answer(json!({ "own": row(json!({})) })));
    // What a Secret has already goes on, and a former login is closed when its grace is over.
    check_unread("credential_unchanged", &asked(told(json!({})), json!({})), &answer(kept(json!({}))));
    let graced = asked(told(json!({ "previousUntil": "2026-12-31T00:30:00Z" })), json!({}));
    check_unread("credential_grace_over", &graced, &answer(kept(former("2026-12-30T23:59:59Z"))));
    let due = json!({ "credentials": { "rotationPeriodDays": 21, "rotationGraceSeconds": 60 } });
    check_unread("credential_unread_rotation", &asked(told(json!({})), due), &answer(kept(json!({}))));
    // A leak does not wait.
    let leaked = annotated(asked(told(json!({})), json!({})), REVOKE_CREDENTIALS, "school");
    check_unread("credential_unread_revoked", &leaked, &answer(kept(json!({}))));
    let left = deleted(&asked(told(json!({})), json!({ "deletionPolicy": "Retain" })));
    check_unread("credential_unread_left", &left, &answer(kept(json!({}))));
    let abandoned = format!("school@{UID}");
    check_unread("credential_unread_abandoned", &annotated(left, ABANDON, &abandoned), &answer(kept(json!({}))));
}

#[test]
fn one_secret_for_both_is_refused_and_applications_go_on() {
    let database = json!({ "defaults": { "connectionSecret": { "nameSuffix": "-db" } } });
    let tenant = tenant(json!({ "schemaName": "school", "migrationSecret": { "name": "school-db" } }), json!(null));
    let desired = tenant.desired(&resolved(database, 0)).unwrap();
    let first = kept(json!({}));
    golden("credential_migration_clash", &seen(&tenant, Wish::Keep(&desired), &answer(first).into()));
    golden("credential_migration_clash_create", &seen(&tenant, Wish::Keep(&desired), &answer(json!({})).into()));
}

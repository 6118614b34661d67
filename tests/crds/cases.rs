//! Specs, and what the API server says about them.

use serde_json::{Value, json};

use super::examples::INSTITUTION;

const NAME_CHARACTERS: &str = "schemaName may only have lower-case letters, digits and underscores and must not begin \
                               with a digit, unless it is inst_ followed by a UUID, or existingSchema is Adopt";
const ADOPT_STAYS: &str = "existingSchema stays Adopt, which is why the schema stays when the object goes; to have it \
                           otherwise set deletionPolicy, or make the object again";
const NAME_PREFIX: &str = "schemaName must not begin with pg_, which PostgreSQL keeps for itself";
const NAME_WORK: &str = "schemaName must not begin with edu_matrix_work_, which the operator keeps for itself";
const NAME_RESERVED: &str =
    "schemaName must not be edu_matrix_hub_schema, information_schema or public, which are reserved";
const NAME_BACKUP: &str = "schemaName must not have the form of a backup's name (_bak_ and 14 digits at its end)";
const VALUES_OF_NOTHING: &str = "suspendedValues are values of a statusColumn, which is missing";
const ONE_SECRET: &str = "migrationSecret must have another name than connectionSecret";
const NOTHING_STAYS: &str =
    "retention must say what stays: keepLast, keepDaily, keepWeekly, keepMonthly, keepYearly or maxAgeDays";
const ONE_GRANTEE: &str = "to must name either a tenantSchema or a role";
const ROLE_RESERVED: &str =
    "name must be neither public nor none nor begin with pg_: these are no roles of their own, or PostgreSQL's";
const NAME_IMMUTABLE: &str = "schemaName is immutable: it can be neither added, changed nor removed";
const INSTITUTION_FORM: &str =
    "institutionId must be a UUID in lower case with hyphens, such as 3f0c1d52-8a3e-4a43-9d3b-0d1f6a2b7c11";
const OTHER: &str = "00000000-0000-4000-8000-00000000000b";
const INSTITUTION_IMMUTABLE: &str = "institutionId is immutable: it can be neither added, changed nor removed";
const DATABASE_IMMUTABLE: &str = "databaseRef is immutable: a tenant stays in its database";
const LIMIT_FORM: &str = "limit must be a size such as 5Gi, with one of the suffixes Ki Mi Gi Ti Pi Ei k M G T P E";
const LIMIT_BOUNDS: &str = "limit must be more than 0 and at most 8Pi";
const MAX_QUOTA_FORM: &str =
    "maxQuota must be a size such as 5Gi, with one of the suffixes Ki Mi Gi Ti Pi Ei k M G T P E";
const MAX_QUOTA_BOUNDS: &str = "maxQuota must be more than 0 and at most 8Pi";
const OWNER_CHARACTERS: &str =
    "ownerRole may only have lower-case letters, digits and underscores and must not begin with a digit";
const OWNER_RESERVED: &str =
    "ownerRole must be neither public nor none nor begin with pg_, which PostgreSQL keeps for itself";
const OWNER_LENGTH: &str = "ownerRole may have at most 57 characters: the admin role is named after it, with six more";
const OWNER_IMMUTABLE: &str = "ownerRole is immutable: it owns the registry and the functions";
const STORE_URL: &str = "url must be s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER";
const STORE_URL_BARE: &str =
    "url must have no credentials, query or fragment; credentials come from credentialsSecretRef";
const STORE_URL_DOTS: &str = "url must not have . or .. as a part of its path";
const STORE_ENDPOINT: &str = "endpoint must be http:// or https:// with a host and perhaps a port, and nothing else";
const SCRATCH_SIZE: &str =
    "scratchSizeLimit must be a size such as 10Gi, with one of the suffixes Ki Mi Gi Ti Pi Ei k M G T P E";
const SCRATCH_BOUNDS: &str = "scratchSizeLimit must be more than 0 and at most 8Pi";
const STORE_RECIPIENTS: &str = "recipients must be public keys that begin with age1; a private key, AGE-SECRET-KEY-1, \
                                belongs in identitySecretRef";

/// A rule at work: the kind, the old spec (null at creation), the new one, and what the API server would say.
#[derive(Clone)]
pub struct Case {
    /// The kind.
    pub kind: &'static str,
    /// The spec of before; null at creation.
    pub old: Value,
    /// The spec that is asked for.
    pub new: Value,
    /// What the API server says.
    pub refusals: &'static [&'static str],
}

/// The rules at work, at least one refusal for each.
pub fn cases() -> Vec<Case> {
    [cases_of_tenants(), cases_of_databases(), cases_of_stores(), cases_of_backups()].concat()
}

fn cases_of_tenants() -> Vec<Case> {
    let tenant = |new, refusals| case("TenantSchema", Value::Null, new, refusals);
    let change = |old, new, refusals| case("TenantSchema", old, new, refusals);
    let grant = |to: Value| json!({"grants": [{"to": to, "privileges": ["Read"]}]});
    vec![
        tenant(json!({}), &[]),
        tenant(json!({"schemaName": "education", "institutionId": INSTITUTION, "quota": {"limit": "5Gi"}}), &[]),
        tenant(json!({"schemaName": format!("inst_{INSTITUTION}")}), &[]),
        tenant(json!({"schemaName": "Education"}), &[NAME_CHARACTERS]),
        tenant(json!({"schemaName": "a\"; drop schema b"}), &[NAME_CHARACTERS]),
        tenant(json!({"schemaName": "inst_3f0c1d52-8a3e"}), &[NAME_CHARACTERS]),
        tenant(json!({"schemaName": "North-School", "existingSchema": "Fail"}), &[NAME_CHARACTERS]),
        tenant(json!({"schemaName": "North-School", "existingSchema": "Adopt"}), &[]),
        tenant(json!({"schemaName": "public", "existingSchema": "Adopt"}), &[NAME_RESERVED]),
        change(json!({"existingSchema": "Fail"}), json!({"existingSchema": "Adopt"}), &[]),
        change(json!({"existingSchema": "Adopt"}), json!({"existingSchema": "Fail"}), &[ADOPT_STAYS]),
        change(json!({"existingSchema": "Adopt"}), json!({}), &[ADOPT_STAYS]),
        tenant(json!({"schemaName": "pg_temp"}), &[NAME_PREFIX]),
        tenant(json!({"schemaName": "edu_matrix_work_1"}), &[NAME_WORK]),
        tenant(json!({"schemaName": "edu_matrix_work"}), &[]),
        tenant(json!({"schemaName": "public"}), &[NAME_RESERVED]),
        tenant(json!({"schemaName": "information_schema"}), &[NAME_RESERVED]),
        tenant(json!({"schemaName": "edu_matrix_hub_schema"}), &[NAME_RESERVED]),
        tenant(json!({"schemaName": "a_bak_20260101120000"}), &[NAME_BACKUP]),
        tenant(json!({"schemaName": "a_bak_20260101120000_2"}), &[NAME_BACKUP]),
        tenant(json!({"connectionSecret": {"name": "a"}, "migrationSecret": {"name": "b"}}), &[]),
        tenant(json!({"migrationSecret": {"name": "a"}}), &[]),
        tenant(json!({"connectionSecret": {"name": "a"}, "migrationSecret": {"name": "a"}}), &[ONE_SECRET]),
        tenant(grant(json!({"tenantSchema": {"name": "a"}})), &[]),
        tenant(grant(json!({"role": "a"})), &[]),
        tenant(grant(json!({})), &[ONE_GRANTEE]),
        tenant(grant(json!({"tenantSchema": {"name": "a"}, "role": "a"})), &[ONE_GRANTEE]),
        tenant(json!({"quota": {"limit": "1e9"}}), &[]),
        tenant(json!({"quota": {"limit": "8Pi"}}), &[]),
        tenant(json!({"quota": {"limit": "5Gib"}}), &[LIMIT_FORM]),
        tenant(json!({"quota": {"limit": "-5Gi"}}), &[LIMIT_FORM]),
        tenant(json!({"quota": {"limit": "500m"}}), &[LIMIT_FORM]),
        tenant(json!({"quota": {"limit": "0Gi"}}), &[LIMIT_BOUNDS]),
        tenant(json!({"backup": {"retention": {"keepWeekly": 4}}}), &[]),
        tenant(json!({"backup": {"retention": {"maxAgeDays": 30}}}), &[]),
        tenant(json!({"backup": {"retention": {}}}), &[NOTHING_STAYS]),
        tenant(json!({"quota": {"limit": "9Pi"}}), &[LIMIT_BOUNDS]),
        tenant(json!({"quota": {"limit": "1e40"}}), &[LIMIT_FORM]),
        change(json!({"schemaName": "a"}), json!({"schemaName": "a", "access": "Suspended"}), &[]),
        change(json!({"schemaName": "a"}), json!({"schemaName": "b"}), &[NAME_IMMUTABLE]),
        change(json!({"schemaName": "a"}), json!({}), &[NAME_IMMUTABLE]),
        change(json!({}), json!({"schemaName": "a"}), &[NAME_IMMUTABLE]),
        change(json!({"institutionId": INSTITUTION}), json!({"institutionId": OTHER}), &[INSTITUTION_IMMUTABLE]),
        change(json!({"institutionId": INSTITUTION}), json!({}), &[INSTITUTION_IMMUTABLE]),
        change(json!({}), json!({"institutionId": INSTITUTION}), &[INSTITUTION_IMMUTABLE]),
        tenant(json!({"institutionId": INSTITUTION.to_uppercase()}), &[INSTITUTION_FORM]),
        change(json!({}), json!({"databaseRef": {"name": "default"}}), &[]),
        change(json!({"databaseRef": {"name": "default"}}), json!({}), &[]),
        change(json!({}), json!({"databaseRef": {"name": "other"}}), &[DATABASE_IMMUTABLE]),
        change(json!({"databaseRef": {"name": "a"}}), json!({"databaseRef": {"name": "b"}}), &[DATABASE_IMMUTABLE]),
    ]
}

/// The spec of a database with this beside its connection.
fn base(more: &Value) -> Value {
    let mut spec = json!({"connection": {"secretRef": {"name": "s"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn cases_of_databases() -> Vec<Case> {
    let institutions = |more: Value| {
        let mut source = json!({"schema": "public", "table": "schools", "idColumn": "id"});
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"institutions": {"source": source}})
    };
    let database = |new, refusals| case("TenantDatabase", Value::Null, base(&new), refusals);
    let change_database = |old, new, refusals| case("TenantDatabase", base(&old), base(&new), refusals);
    vec![
        database(json!({}), &[]),
        database(institutions(json!({"statusColumn": "status"})), &[]),
        database(institutions(json!({"statusColumn": "status", "suspendedValues": ["0"]})), &[]),
        database(institutions(json!({"suspendedValues": ["0"]})), &[VALUES_OF_NOTHING]),
        database(json!({"defaults": {"backup": {"retention": {}}}}), &[NOTHING_STAYS]),
        database(json!({"grantableRoles": [{"name": "notification service"}]}), &[]),
        database(json!({"grantableRoles": [{"name": "pg_monitor"}]}), &[ROLE_RESERVED]),
        database(json!({"grantableRoles": [{"name": "public"}]}), &[ROLE_RESERVED]),
        database(json!({"ownerRole": "tenants_owner"}), &[]),
        database(json!({"ownerRole": "Owner"}), &[OWNER_CHARACTERS]),
        database(json!({"ownerRole": "pg_database_owner"}), &[OWNER_RESERVED]),
        database(json!({"ownerRole": "public"}), &[OWNER_RESERVED]),
        database(json!({"ownerRole": "o".repeat(57)}), &[]),
        database(json!({"ownerRole": "o".repeat(58)}), &[OWNER_LENGTH]),
        database(json!({"defaults": {"quota": {"limit": "x"}}}), &[LIMIT_FORM]),
        database(json!({"defaults": {"quota": {"limit": "0"}}}), &[LIMIT_BOUNDS]),
        database(json!({"limits": {"maxQuota": "x"}}), &[MAX_QUOTA_FORM]),
        database(json!({"limits": {"maxQuota": "0"}}), &[MAX_QUOTA_BOUNDS]),
        database(json!({"limits": {"maxQuota": "1Ti", "deletionPolicies": ["Retain"]}}), &[]),
        database(json!({"limits": {"deletionPolicies": ["Retain"]}, "defaults": {"deletionPolicy": "Retain"}}), &[]),
        database(
            json!({"limits": {"deletionPolicies": ["Retain"]}, "defaults": {"deletionPolicy": "Drop"}}),
            &["defaults.deletionPolicy must be one of limits.deletionPolicies"],
        ),
        change_database(json!({}), json!({"ownerRole": "edu_matrix_owner"}), &[]),
        change_database(json!({}), json!({"ownerRole": "other"}), &[OWNER_IMMUTABLE]),
        change_database(json!({"ownerRole": "a"}), json!({}), &[OWNER_IMMUTABLE]),
    ]
}

fn cases_of_stores() -> Vec<Case> {
    let store =
        |store: Value, refusals| case("TenantDatabase", Value::Null, base(&json!({"backupStore": store})), refusals);
    let at = |url: &str, refusals| store(json!({"url": url}), refusals);
    let reached = |endpoint: &str, refusals| store(json!({"url": "s3://b", "endpoint": endpoint}), refusals);
    let encrypted = |recipients: Value, refusals| {
        store(json!({"url": "s3://b", "encryption": {"recipients": recipients}}), refusals)
    };
    let limited = |size: &str, refusals| store(json!({"url": "s3://b", "scratchSizeLimit": size}), refusals);
    vec![
        at("s3://bucket/prefix", &[]),
        at("gs://bucket", &[]),
        at("az://container/a/b", &[]),
        at("file:///archives/prod", &[]),
        at("s3://my.bucket/v1.2/a..b", &[]),
        at("https://bucket/prefix", &[STORE_URL]),
        at("s3:///prefix", &[STORE_URL]),
        at("file://host/folder", &[STORE_URL]),
        at("s3://id:secret@bucket/prefix", &[STORE_URL_BARE]),
        at("s3://bucket/prefix?region=eu", &[STORE_URL_BARE]),
        at("s3://bucket/prefix#new", &[STORE_URL_BARE]),
        at("file:///archives/../etc", &[STORE_URL_DOTS]),
        at("s3://bucket/./prefix", &[STORE_URL_DOTS]),
        reached("https://minio.example:9000", &[]),
        reached("http://minio.databases.svc:9000/", &[]),
        reached("minio.example:9000", &[STORE_ENDPOINT]),
        reached("https://minio.example/bucket", &[STORE_ENDPOINT]),
        reached("https://id:secret@minio.example", &[STORE_ENDPOINT]),
        encrypted(json!(["age1qyqszqgpqyqszqgp", "age1pq1qyqszqgp"]), &[]),
        limited("500Gi", &[]),
        limited("1.5Ti", &[]),
        limited("plenty", &[SCRATCH_SIZE]),
        limited("0", &[SCRATCH_BOUNDS]),
        limited("9Pi", &[SCRATCH_BOUNDS]),
        encrypted(json!(["AGE-SECRET-KEY-1QYQSZQGP"]), &[STORE_RECIPIENTS]),
        encrypted(json!(["age1qyqszqgpqyqszqgp", "ssh-ed25519 AAAA"]), &[STORE_RECIPIENTS]),
    ]
}

fn cases_of_backups() -> Vec<Case> {
    let backup = |old, new, refusals| case("SchemaBackup", old, new, refusals);
    vec![
        backup(Value::Null, json!({"tenantSchemaRef": {"name": "a"}}), &[]),
        backup(json!({"tenantSchemaRef": {"name": "a"}}), json!({"tenantSchemaRef": {"name": "a"}}), &[]),
        backup(
            json!({"tenantSchemaRef": {"name": "a"}}),
            json!({"tenantSchemaRef": {"name": "a"}, "expireAfterDays": 3}),
            &["spec is immutable: it describes one backup; make another SchemaBackup"],
        ),
    ]
}

fn case(kind: &'static str, old: Value, new: Value, refusals: &'static [&'static str]) -> Case {
    Case { kind, old, new, refusals }
}

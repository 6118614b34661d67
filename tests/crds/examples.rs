//! One object of each kind that has every field.

use serde_json::{Value, json};

/// The id of an institution, and of everything else that needs a UUID.
pub const INSTITUTION: &str = "3f0c1d52-8a3e-4a43-9d3b-0d1f6a2b7c11";

fn summary() -> Value {
    json!({ "reason": "Succeeded", "message": "schema education is ready", "since": "2026-11-21T12:00:00Z" })
}

fn conditions() -> Value {
    json!([{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "all as it should be",
        "observedGeneration": 1, "lastTransitionTime": "2026-01-01T12:00:00Z"}])
}

fn selector() -> Value {
    json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]})
}

fn backup_policy() -> Value {
    json!({
        "schedules": [{"name": "daily", "cron": "0 2 * * *", "timeZone": "Europe/Berlin", "method": "Archive",
            "verification": "Checksum", "suspend": false}],
        "spreadSeconds": 3600, "historyLimit": 3, "finalExpireAfterDays": 30,
        "retention": {"keepLast": 7, "keepDaily": 14, "keepWeekly": 8, "keepMonthly": 12, "keepYearly": 3, "maxAgeDays": 400},
    })
}

pub fn database() -> Value {
    json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantDatabase", "metadata": {"name": "default"},
        "spec": {
            "connection": {
                "secretRef": {"name": "default-postgres", "namespace": "databases"},
                "tls": {"mode": "VerifyFull", "caSecretRef": {"name": "ca", "namespace": "databases", "key": "tls.crt"}},
                "maxConnections": 8, "connectTimeoutSeconds": 10, "statementTimeoutSeconds": 60,
            },
            "clientEndpoint": {"host": "pooler.example", "port": 6432, "sslMode": "Require", "nameLookup": "Required",
                "caSecretRef": {"name": "pooler-ca", "namespace": "poolers", "key": "ca.crt"}},
            "readEndpoint": {"host": "replica.example", "port": 5432, "nameLookup": "Skip"},
            "directConnection": {"secretRef": {"name": "default-postgres-direct", "namespace": "databases"}},
            "functions": "Verified", "ownerRole": "tenants_owner", "allowedNamespaces": selector(),
            "naming": [{"namespaceSelector": selector(), "pattern": "^inst_"}],
            "adoptable": [{"pattern": "education", "namespace": "team-a"}],
            "grantableRoles": [{"name": "notification_service", "namespaceSelector": selector()}],
            "transfers": [{"schemaName": "education", "from": {"namespace": "team-a", "name": "school"},
                "to": {"namespace": "team-b", "name": "academy"}}],
            "institutions": {"mode": "Require", "source": {"schema": "public", "table": "schools", "idColumn": "id",
                "statusColumn": "status", "suspendedValues": ["suspended", "closed"]}},
            "backupStore": {"url": "s3://archives/prod", "endpoint": "https://minio.example:9000",
                "caSecretRef": {"name": "minio-ca", "namespace": "stores", "key": "ca.crt"},
                "credentialsSecretRef": {"name": "archives", "namespace": "stores"},
                "encryption": {"recipients": ["age1qyqszqgpqyqszqgpqyqszqgp"],
                    "identitySecretRef": {"name": "archives-identity", "namespace": "stores"}},
                "bandwidthMiBPerSecond": 50, "scratchSizeLimit": "10Gi"},
            "limits": {"maxQuota": "1Ti", "enforcementAtLeast": "Report", "deletionPolicies": ["Retain", "BackupThenDrop"],
                "maxTenantsPerNamespace": 10, "maxDeletionsPerHour": 100, "maxConnectionLimit": 50,
                "maxRotationPeriodDays": 90, "grants": "AllNamespaces"},
            "defaults": {"quota": {"limit": "5Gi", "warningPercent": 90, "enforcement": "Report"},
                "deletionPolicy": "Retain", "backup": backup_policy(), "connectionSecret": {"nameSuffix": "-db"},
                "credentials": {"rotationPeriodDays": 30, "rotationGraceSeconds": 3600, "connectionLimit": 20,
                    "statementTimeoutSeconds": 0, "idleInTransactionTimeoutSeconds": 300}},
            "surveyPeriodSeconds": 30,
        },
        "status": {
            "observedGeneration": 1, "conditions": conditions(), "summary": summary(), "installationId": INSTITUTION,
            "serverVersion": "18.1", "functionsVersion": "0.1.0", "tenantCount": 3, "storageUsed": "1.2Gi",
            "storageUsedBytes": 1_288_490_188, "setAsideCount": 1, "setAsideBytes": 4096, "holder": "operator-0",
            "epoch": 7, "claimId": INSTITUTION, "backupStore": { "url": "s3://archives/of/schools", "id": INSTITUTION },
        },
    })
}

pub fn tenant() -> Value {
    json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
        "metadata": {"name": "school", "namespace": "team-a", "annotations": {"edumatrixhub.io/confirm-drop": "education"}},
        "spec": {
            "databaseRef": {"name": "default"}, "institutionId": INSTITUTION, "schemaName": "education",
            "config": {"theme": {"colour": "red"}, "terms": [1, 2, null]}, "access": "Suspended",
            "quota": {"limit": "5Gi", "warningPercent": 90, "enforcement": "Report"}, "deletionPolicy": "Drop",
            "backup": backup_policy(), "connectionSecret": {"name": "education-db"},
            "migrationSecret": {"name": "education-db-owner"},
            "existingSchema": "Adopt",
            "credentials": {"rotationPeriodDays": 30, "rotationGraceSeconds": 3600, "connectionLimit": 20,
                "statementTimeoutSeconds": 0, "idleInTransactionTimeoutSeconds": 300},
            "grants": [{"to": {"tenantSchema": {"name": "reporting", "namespace": "team-b"}}, "privileges": ["Read", "Write"],
                "tables": ["pupils", "marks"]}, {"to": {"role": "notification_service"}, "privileges": ["Read"]}],
            "rowLevelSecurity": {"mode": "BestEffort", "policies": [{"name": "own-rows", "column": "user_id",
                "setting": "app.current_user_id", "tables": ["profiles"], "commands": ["Select", "Insert"], "roles": ["reader"]}]},
        },
        "status": {
            "observedGeneration": 1, "conditions": conditions(), "summary": summary(), "schemaName": "education", "schemaId": INSTITUTION,
            "connection": { "host": "db.example", "port": 5432, "database": "edu",
                "readEndpoint": { "host": "replica.example", "port": 5432 } },
            "roles": { "owner": "education_1_owner", "writer": "education_1_writer", "reader": "education_1_reader" },
            "databaseName": "app", "state": "Suspended",
            "blocked": { "cause": "Institution", "since": "2026-01-31T12:00:00Z" }, "storageUsed": "1.2Gi", "storageUsedBytes": 1_288_490_188,
            "tableCount": 31, "quotaUsedPercent": 24,
            "quotaEstimate": {"countedBytes": 644_245_094, "message": "half of it is free within the tables"},
            "lastBackup": {"name": "education_bak_20260101120000", "method": "Snapshot",
                "completionTime": "2026-01-01T12:00:00Z", "sizeBytes": 4096},
            "schedules": [{"name": "daily", "cron": "0 2 * * * Europe/Berlin", "spreadSeconds": 3600, "lastScheduleTime": "2026-01-01T01:17:05Z",
                "nextScheduleTime": "2026-01-02T01:17:05Z", "waitingSince": "2026-01-01T01:17:05Z", "backups": ["school.daily-20260101011705"]}],
            "lastOperation": {"type": "create", "status": "success", "startTime": "2026-01-01T12:00:00Z",
                "durationMilliseconds": 12, "error": "none"},
            "credentials": {"login": "education_1_app_a", "credentialId": INSTITUTION, "secretName": "education-db",
                "secretUid": INSTITUTION, "secretRetention": "Owned", "publishedTime": "2026-01-01T12:00:00Z",
                "nextRotationTime": "2026-01-31T12:00:00Z", "previousUntil": "2026-01-01T13:00:00Z",
                "rotated": "2026-01-01T11:59:59Z", "revoked": "education"},
            "grants": [{"to": {"tenantSchema": {"name": "reporting", "namespace": "team-b"}}, "state": "Waiting",
                "message": "there is no such tenant"}, {"to": {"role": "notification_service"}, "state": "Active"}],
            "migrationCredentials": {"login": "education_1_mig_a", "credentialId": INSTITUTION, "secretName": "education-db-owner",
                "secretUid": INSTITUTION, "secretRetention": "Owned", "publishedTime": "2026-01-01T12:00:00Z",
                "nextRotationTime": "2026-01-31T12:00:00Z", "previousUntil": "2026-01-01T13:00:00Z",
                "rotated": "2026-01-01T11:59:59Z", "revoked": "education"},
            "rowSecurity": {"tables": 31, "uncovered": ["view education.v reads with the rights of its owner"]},
            "adoption": {"moved": 50, "total": 120},
            "effective": {"databaseRef": "default", "deletionPolicy": "Drop", "finalBackup": "None",
                "finalExpireAfterDays": 30, "quotaLimit": "5Gi", "enforcement": "Report"},
        },
    })
}

pub fn backup() -> Value {
    json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "SchemaBackup",
        "metadata": {"name": "before-exams", "namespace": "team-a"},
        "spec": {"tenantSchemaRef": {"name": "school"}, "method": "Archive", "verification": "Checksum",
            "expireAfterDays": 30, "deletionPolicy": "Delete"},
        "status": {
            "observedGeneration": 1, "conditions": conditions(), "summary": summary(), "databaseRef": "default", "schemaId": INSTITUTION,
            "backupId": INSTITUTION, "method": "Archive", "location": "i/s/b/a.dump.zst.age", "startTime": "2026-01-01T12:00:00Z",
            "completionTime": "2026-01-01T12:00:05Z", "size": "4Ki", "sizeBytes": 4096, "tableCount": 31, "rowCount": 1000,
            "checksum": "00", "store": "s3://archives/prod", "verifiedTime": "2026-01-01T12:00:05Z",
            "verifiedHow": "read back: length and SHA-256 are right", "expireTime": "2026-01-31T12:00:05Z",
        },
    })
}

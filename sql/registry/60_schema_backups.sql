-- The catalogue of backups: snapshots, which stand beside a tenant, schemas that were set aside when their tenant was
-- dropped, and archives, which are in an object store. A row outlives tenant and backup; a purged one keeps what is
-- known of it.
--
-- `schema_id` refers to tenant_schemas without a foreign key for that reason. `location` is the name of the schema that
-- holds the backup, and of an archive its key in the store, which begins with the id of the installation; among backups
-- that still have one it is unique. `manifest` says what the schema cannot: definitions, sequence positions and content
-- hashes of a snapshot, or the grants, memberships and references of what was set aside; and of an archive what its
-- manifest in the store says.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.schema_backups (
    id                uuid        PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    schema_id         uuid        NOT NULL,
    institution_id    uuid,
    schema_name       text        NOT NULL,
    method            text        NOT NULL CHECK (method IN ('Snapshot', 'SetAside', 'Archive')),
    state             text        NOT NULL DEFAULT 'requested'
                      CHECK (state IN ('requested', 'running', 'complete', 'failed', 'cancelled',
                                       'purging', 'purged', 'restored')),
    location          text,
    manifest          jsonb       NOT NULL DEFAULT '{}',
    size_bytes        bigint,
    table_count       integer,
    row_count         bigint,
    checksum          text,
    -- The SchemaBackup that asked for it; null when made by hand or by a deletion.
    object_cluster    text,
    object_namespace  text,
    object_name       text,
    object_uid        text,
    expire_after_days integer     CHECK (expire_after_days >= 0),
    expires_at        timestamptz,
    error             text,
    requested_by      text        NOT NULL,
    requested_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
    started_at        timestamptz,
    completed_at      timestamptz,
    purged_at         timestamptz,
    updated_at        timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE UNIQUE INDEX IF NOT EXISTS schema_backups_location_key
    ON edu_matrix_hub_schema.schema_backups (location) WHERE state IN ('complete', 'purging');
-- Removed backups keep their names, and a new one must not have any of them.
CREATE INDEX IF NOT EXISTS schema_backups_location
    ON edu_matrix_hub_schema.schema_backups (location) WHERE location IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS schema_backups_object_uid_key
    ON edu_matrix_hub_schema.schema_backups (object_uid);
CREATE INDEX IF NOT EXISTS schema_backups_schema_id
    ON edu_matrix_hub_schema.schema_backups (schema_id, completed_at DESC);
CREATE INDEX IF NOT EXISTS schema_backups_expires_at
    ON edu_matrix_hub_schema.schema_backups (expires_at) WHERE state IN ('complete', 'purging');
CREATE INDEX IF NOT EXISTS schema_backups_set_aside
    ON edu_matrix_hub_schema.schema_backups (completed_at) WHERE method = 'SetAside' AND state = 'complete';
CREATE INDEX IF NOT EXISTS schema_backups_updated_at
    ON edu_matrix_hub_schema.schema_backups (updated_at);
-- Which schema `location` is, and the UID of the namespace that the SchemaBackup is in; see tenant_schemas.
ALTER TABLE edu_matrix_hub_schema.schema_backups ADD COLUMN IF NOT EXISTS location_oid oid;
ALTER TABLE edu_matrix_hub_schema.schema_backups ADD COLUMN IF NOT EXISTS object_namespace_uid text;
-- It was set aside just now, and sessions that came in meanwhile are still to be ended (see _end_late_sessions).
ALTER TABLE edu_matrix_hub_schema.schema_backups ADD COLUMN IF NOT EXISTS sessions_due boolean NOT NULL DEFAULT false;
-- When a heartbeat saw it first, which is after the commit.
ALTER TABLE edu_matrix_hub_schema.schema_backups ADD COLUMN IF NOT EXISTS sessions_due_seen_at timestamptz;
CREATE INDEX IF NOT EXISTS schema_backups_sessions_due
    ON edu_matrix_hub_schema.schema_backups (completed_at) WHERE sessions_due;
-- Which schedule of the tenant asked for it, and which of the backups that schedules asked for stay when it is complete
-- (_apply_retention).
ALTER TABLE edu_matrix_hub_schema.schema_backups ADD COLUMN IF NOT EXISTS schedule text;
ALTER TABLE edu_matrix_hub_schema.schema_backups ADD COLUMN IF NOT EXISTS retention jsonb;
-- Of an archive: what its files are by their hashes, in which store they were written (its URL then, which has no
-- secret), which verification was asked for and what was found by it, and that the store let nothing be deleted when it
-- was removed.
ALTER TABLE edu_matrix_hub_schema.schema_backups
    ADD COLUMN IF NOT EXISTS artefact_sha256 text,
    ADD COLUMN IF NOT EXISTS manifest_sha256 text,
    ADD COLUMN IF NOT EXISTS store           text,
    ADD COLUMN IF NOT EXISTS verification    text,
    ADD COLUMN IF NOT EXISTS verified_at     timestamptz,
    ADD COLUMN IF NOT EXISTS verified_how    text,
    ADD COLUMN IF NOT EXISTS kept_by_store   boolean NOT NULL DEFAULT false,
    -- By what it was verified, Checksum or Restore; and what of the verification that was asked for could not be done.
    ADD COLUMN IF NOT EXISTS verified_by     text,
    ADD COLUMN IF NOT EXISTS unproved        text,
    -- Former releases knew no archives.
    DROP CONSTRAINT IF EXISTS schema_backups_method_check,
    DROP CONSTRAINT IF EXISTS schema_backups_verification_check,
    DROP CONSTRAINT IF EXISTS schema_backups_verified_by_check,
    DROP CONSTRAINT IF EXISTS schema_backups_archive_check;
ALTER TABLE edu_matrix_hub_schema.schema_backups
    ADD CONSTRAINT schema_backups_method_check CHECK (method IN ('Snapshot', 'SetAside', 'Archive')),
    ADD CONSTRAINT schema_backups_verification_check CHECK (verification IN ('None', 'Checksum', 'Restore')),
    ADD CONSTRAINT schema_backups_verified_by_check CHECK (verified_by IN ('Checksum', 'Restore')),
    -- The key of an archive is never taken for a schema: whatever acts on one goes by its number.
    ADD CONSTRAINT schema_backups_archive_check CHECK (method <> 'Archive' OR location_oid IS NULL);
ALTER TABLE edu_matrix_hub_schema.schema_backups ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- The uploads of archives, each known before its first byte is written: what an operator that was killed left in the
-- store is found here. `ended_at` says that its files are the archive, or are deleted.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.archive_uploads (
    attempt           uuid        PRIMARY KEY,
    backup_id         uuid        NOT NULL REFERENCES edu_matrix_hub_schema.schema_backups (id) ON DELETE CASCADE,
    -- The job that made it, which may be gone by now, and which of its attempts.
    job_id            uuid        NOT NULL,
    job_attempt       integer     NOT NULL,
    store             text        NOT NULL,
    location          text        NOT NULL,
    manifest_location text        NOT NULL,
    begun_at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    ended_at          timestamptz
);
CREATE INDEX IF NOT EXISTS archive_uploads_backup_id
    ON edu_matrix_hub_schema.archive_uploads (backup_id, begun_at);
CREATE INDEX IF NOT EXISTS archive_uploads_left
    ON edu_matrix_hub_schema.archive_uploads (backup_id) WHERE ended_at IS NULL;
ALTER TABLE edu_matrix_hub_schema.archive_uploads ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- Rows from before take the schema of their name if it is ours, or still the tenant's that was set aside; and with it
-- the roles of a tenant that was set aside.
UPDATE edu_matrix_hub_schema.schema_backups AS b
SET location_oid = n.oid
FROM pg_catalog.pg_namespace AS n
WHERE b.location_oid IS NULL AND b.state IN ('complete', 'purging') AND n.nspname = b.location
  AND b.method <> 'Archive'
  AND n.nspowner IN (current_user::regrole,
                     (SELECT o.oid FROM edu_matrix_hub_schema.tenant_schemas AS t
                      JOIN pg_catalog.pg_roles AS o ON o.rolname = t.owner_role
                      WHERE t.id = b.schema_id AND b.method = 'SetAside'));
UPDATE edu_matrix_hub_schema.tenant_schemas AS t
SET schema_oid = b.location_oid, owner_role_oid = to_regrole(quote_ident(t.owner_role)),
    reader_role_oid = to_regrole(quote_ident(t.reader_role)), writer_role_oid = to_regrole(quote_ident(t.writer_role))
FROM edu_matrix_hub_schema.schema_backups AS b
WHERE t.status = 'dropped' AND t.schema_oid IS NULL
  AND b.schema_id = t.id AND b.method = 'SetAside' AND b.state IN ('complete', 'purging')
  AND b.location_oid IS NOT NULL;

-- The kinds of jobs, {kind: class}: the one list of them. A class is what a job takes up while it runs, so that each
-- class has places of its own:
--
--   short    calls of a few seconds, one after the other, over the connections of all others
--   long     one call that may last for hours, over a connection that nothing else uses
--   program  a program outside of the database, which opens a connection of its own
--
-- A kind that a newer release adds is one more word here; the table stays as it is.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._job_kinds() RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT '{"snapshot": "long", "archive": "program", "purge": "short", "remove_archive": "short"}'::pg_catalog.jsonb
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._job_kinds() FROM PUBLIC;

-- The queue of long work. A row says how a job stands: requested, running (which attempt, in which epoch, last
-- heard of when), done, failed or cancelled. The operator that takes one up after a crash finds everything it needs
-- here.
--
-- `sandbox` names the schema in which a snapshot's reading is prepared (see _open_sandbox); it is removed with the
-- job.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.schema_jobs (
    id           uuid        PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    kind         text        NOT NULL,
    backup_id    uuid        REFERENCES edu_matrix_hub_schema.schema_backups (id),
    schema_id    uuid,
    state        text        NOT NULL DEFAULT 'requested'
                             CHECK (state IN ('requested', 'running', 'done', 'failed', 'cancelled')),
    attempt      integer     NOT NULL DEFAULT 0,
    epoch        bigint,
    holder       text,
    heartbeat_at timestamptz,
    sandbox      text,
    error        text,
    requested_by text        NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    -- A job that failed for a passing reason is not taken up again before this moment.
    not_before   timestamptz NOT NULL DEFAULT pg_catalog.now(),
    started_at   timestamptz,
    finished_at  timestamptz
);
-- What the job is about: without `subject_kind` the backup that it makes or removes, else the tenant, the database or
-- another kind of thing, with the id of its row; a job may need a backup and be about something else. `schema_id` is
-- the tenant that it works on, if it works on one: a tenant has one job running at a time.
ALTER TABLE edu_matrix_hub_schema.schema_jobs
    -- Attempts in a row that failed, and what kind of thing a person has to do about the latest; null when
    -- it may pass by itself.
    ADD COLUMN IF NOT EXISTS failures         integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS reason           text,
    ADD COLUMN IF NOT EXISTS subject_kind     text,
    ADD COLUMN IF NOT EXISTS subject_id       uuid,
    -- The Kubernetes object that asked for it and waits for its end; null when none does.
    ADD COLUMN IF NOT EXISTS object_kind      text,
    ADD COLUMN IF NOT EXISTS object_namespace text,
    ADD COLUMN IF NOT EXISTS object_name      text,
    ADD COLUMN IF NOT EXISTS object_uid       text,
    -- In former releases every job was about a backup of a tenant, and the two kinds stood in the table.
    ALTER COLUMN backup_id DROP NOT NULL,
    ALTER COLUMN schema_id DROP NOT NULL,
    DROP CONSTRAINT IF EXISTS schema_jobs_kind_check,
    DROP CONSTRAINT IF EXISTS schema_jobs_subject_check;
ALTER TABLE edu_matrix_hub_schema.schema_jobs
    ADD CONSTRAINT schema_jobs_kind_check
        CHECK (pg_catalog.jsonb_exists(edu_matrix_hub_schema._job_kinds(), kind)),
    ADD CONSTRAINT schema_jobs_subject_check
        CHECK ((subject_kind IS NULL) = (subject_id IS NULL) AND (subject_id IS NOT NULL OR backup_id IS NOT NULL));

-- A subject has one job of a kind under way at most: two snapshots into one catalogue row could not both be right.
DROP INDEX IF EXISTS edu_matrix_hub_schema.schema_jobs_open_key;
CREATE UNIQUE INDEX IF NOT EXISTS schema_jobs_open_subject_key
    ON edu_matrix_hub_schema.schema_jobs (coalesce(subject_id, backup_id), kind)
    WHERE state IN ('requested', 'running');
CREATE INDEX IF NOT EXISTS schema_jobs_waiting
    ON edu_matrix_hub_schema.schema_jobs (requested_at, id) WHERE state IN ('requested', 'running');
CREATE INDEX IF NOT EXISTS schema_jobs_schema_id
    ON edu_matrix_hub_schema.schema_jobs (schema_id) WHERE state IN ('requested', 'running');
CREATE INDEX IF NOT EXISTS schema_jobs_backup_id
    ON edu_matrix_hub_schema.schema_jobs (backup_id, requested_at DESC);
-- When it was a tenant's turn last.
CREATE INDEX IF NOT EXISTS schema_jobs_started_at
    ON edu_matrix_hub_schema.schema_jobs (schema_id, started_at);
ALTER TABLE edu_matrix_hub_schema.schema_jobs ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- Jobs of a former release do not say which object waits for them; for the open ones the backup does.
UPDATE edu_matrix_hub_schema.schema_jobs AS j
SET object_kind = 'SchemaBackup', object_namespace = b.object_namespace, object_name = b.object_name,
    object_uid = b.object_uid
FROM edu_matrix_hub_schema.schema_backups AS b
WHERE b.id = j.backup_id AND b.object_uid IS NOT NULL AND j.object_kind IS NULL
  AND j.state IN ('requested', 'running');

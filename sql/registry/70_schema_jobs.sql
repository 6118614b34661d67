-- The queue of long work. A row is the truth about a job: requested, running (which attempt, in which epoch, last heard
-- of when), done, failed or cancelled. The operator that takes one up after a crash finds everything it needs here.
--
-- `sandbox` names the schema in which a snapshot's reading is prepared (see _open_sandbox); it is removed with the job.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.schema_jobs (
    id           uuid        PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    kind         text        NOT NULL CHECK (kind IN ('snapshot', 'purge')),
    backup_id    uuid        NOT NULL REFERENCES edu_matrix_hub_schema.schema_backups (id),
    schema_id    uuid        NOT NULL,
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
-- Attempts in a row that came to nothing, and what kind of thing a person has to do about
-- the latest; null when it may pass by itself.
ALTER TABLE edu_matrix_hub_schema.schema_jobs ADD COLUMN IF NOT EXISTS failures integer NOT NULL DEFAULT 0;
ALTER TABLE edu_matrix_hub_schema.schema_jobs ADD COLUMN IF NOT EXISTS reason text;
-- A backup has one job of a kind under way at most: two snapshots into one catalogue row could not both be right.
CREATE UNIQUE INDEX IF NOT EXISTS schema_jobs_open_key
    ON edu_matrix_hub_schema.schema_jobs (backup_id, kind) WHERE state IN ('requested', 'running');
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

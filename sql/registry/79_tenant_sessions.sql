-- The latest session in which the operator worked as a tenant, by the tenant's run login (see open_tenant_session):
-- when it was opened, until when its password is good, and since when that login is closed and has no session. What a
-- transaction did that was prepared between the two is that session's.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.tenant_sessions (
    schema_id  uuid        PRIMARY KEY REFERENCES edu_matrix_hub_schema.tenant_schemas (id) ON DELETE CASCADE,
    opened_at  timestamptz NOT NULL,
    open_until timestamptz NOT NULL,
    closed_at  timestamptz
);
-- Those that were not closed (see _end_left_tenant_sessions).
CREATE INDEX IF NOT EXISTS tenant_sessions_open_until
    ON edu_matrix_hub_schema.tenant_sessions (open_until) WHERE closed_at IS NULL;
-- What it is for: work, or a backup, for which a tenant that is suspended lets the operator in as well.
ALTER TABLE edu_matrix_hub_schema.tenant_sessions
    ADD COLUMN IF NOT EXISTS purpose text NOT NULL DEFAULT 'work' CHECK (purpose IN ('work', 'backup'));
ALTER TABLE edu_matrix_hub_schema.tenant_sessions ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

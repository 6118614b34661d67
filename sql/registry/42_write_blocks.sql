-- How far a tenant is closed. `WriteBlocked`: its quota is used up, so that rows are read and deleted, and no more are
-- written. `ReadOnly`: rows are read. `Suspended`: nobody but the owner role comes in. `access_cause` says who asked
-- for it; it is null for a tenant that is open, and for one that was closed before this column was there.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas
    DROP CONSTRAINT IF EXISTS tenant_schemas_access_check,
    ADD CONSTRAINT tenant_schemas_access_check
        CHECK (access IN ('ReadWrite', 'WriteBlocked', 'ReadOnly', 'Suspended'));
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS access_cause text
    CONSTRAINT tenant_schemas_access_cause_check CHECK (access_cause IN ('Spec', 'Quota', 'Institution'));
-- The memberships in the writer and the owner role that were taken so that nobody writes, and are given back later:
-- [{role: writer|owner, member, oid, admin, inherit, set, given: [reader|deleter...]}...]. `given` is what the member
-- became a member of instead. Not null means that writes are taken, also while the tenant is suspended besides.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS taken_members jsonb;
-- The grants by which others wrote that were taken with them: [{kind: TABLE|SEQUENCE|ROUTINE, oid, attnum, privilege,
-- grantee, grantable}...]; grantee 0 is PUBLIC.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS taken_grants jsonb;
-- The role that may delete while writes are blocked by the quota; made when it is needed first.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS deleter_role_oid oid;
-- Writes were taken, and sessions that came in before that was committed are still to be ended; and when a heartbeat
-- saw that first.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS writers_due boolean NOT NULL DEFAULT false;
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS writers_due_seen_at timestamptz;
CREATE INDEX IF NOT EXISTS tenant_schemas_writers_due
    ON edu_matrix_hub_schema.tenant_schemas (id) WHERE writers_due;

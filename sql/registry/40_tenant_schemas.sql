-- The tenants. This row, and nothing else, says that a schema is ours, whose it is and which roles go with it; names
-- and comments in the catalogue prove nothing. A row outlives its schema: `dropped` rows keep what is known of former
-- tenants.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.tenant_schemas (
    id               uuid        PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    institution_id   uuid        REFERENCES edu_matrix_hub_schema.institutions (id),
    schema_name      text        NOT NULL,
    -- The TenantSchema that owns the schema; all four are null when it was made by hand.
    owner_cluster    text,
    owner_namespace  text,
    owner_name       text,
    owner_uid        text,
    status           text        NOT NULL CHECK (status IN ('active', 'suspended', 'dropping', 'released', 'dropped')),
    access           text        NOT NULL DEFAULT 'ReadWrite'
                                 CHECK (access IN ('ReadWrite', 'WriteBlocked', 'ReadOnly', 'Suspended')),
    config           jsonb       NOT NULL DEFAULT '{}' CHECK (pg_catalog.octet_length(config::text) <= 65536),
    version          bigint      NOT NULL DEFAULT 1,
    quota_limit      bigint      CHECK (quota_limit >= 0),
    -- The roles that go with the schema. `keeper` says which role keeper may alter and drop them (null:
    -- the owner role).
    keeper           integer,
    owner_role       text        NOT NULL,
    reader_role      text        NOT NULL,
    writer_role      text        NOT NULL,
    logins           text[]      NOT NULL DEFAULT '{}',
    -- What a suspension took and has to give back: grants on the schema, and the logins that it closed.
    saved_acl        jsonb,
    closed_logins    text[]      NOT NULL DEFAULT '{}',
    -- What the survey measured last, and by which signature of writes it knows that nothing has changed
    -- since (0: no tables).
    table_count      integer     NOT NULL DEFAULT 0,
    storage_used     bigint      NOT NULL DEFAULT 0,
    usage_stale      boolean     NOT NULL DEFAULT false,
    usage_at         timestamptz,
    write_signature  numeric     NOT NULL DEFAULT 0,
    -- Owner, grants, default privileges and roles as they were when last found right, and what differs since.
    fingerprint      numeric,
    drift            jsonb       NOT NULL DEFAULT '[]',
    -- Hash of what the survey reported last, so that it reports only changes. A call that changes what it
    -- stands for sets it to null: the caller knows the change, so undoing it by hand is news, although it is
    -- what was reported last.
    reported         bigint,
    last_optimized   timestamptz,
    last_backup      timestamptz,
    created_at       timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at       timestamptz NOT NULL DEFAULT pg_catalog.now(),
    dropped_at       timestamptz
) WITH (fillfactor = 80);
-- Its cluster was taken over by another one, or it was brought back with all others that were set aside, and no
-- TenantSchema has claimed it yet: the next one of its namespace and name has it without saying more.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS taken_over boolean NOT NULL DEFAULT false;
-- Which schema and which roles they are, since another schema or role may get the name later. Null means unknown: then
-- no call takes what bears the name for the tenant's. The namespace of the TenantSchema has a UID for the same reason;
-- it is null where the row is older than this column, or came from another cluster.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS schema_oid oid;
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS owner_role_oid oid;
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS reader_role_oid oid;
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS writer_role_oid oid;
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS owner_namespace_uid text;
-- Beside each of `logins`; a trigger keeps it (see _remember_logins).
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS login_oids oid[] NOT NULL DEFAULT '{}';
-- The deletion timestamp of the TenantSchema for which it was dropped, by the clock of the API server: deletions are
-- counted in that clock alone.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS deletion_requested_at timestamptz;
-- How often its schema was lost and made again, empty: a request to do so counts for one loss.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS recreations integer NOT NULL DEFAULT 0;
-- Tables in its schema that belong to other roles, as the survey found them (see _foreign_tables); null
-- when there are none.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS foreign_tables jsonb;
-- Since when its size is an estimate, and which session is the reason (see _size_estimate); null when it was measured.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS size_estimate jsonb;
-- The other databases of the server that use its roles, as the suspension found them: its logins are open
-- because of these.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS shared_with text[] NOT NULL DEFAULT '{}';
-- What its roles may do beyond its own schema, as a survey found it, and when that was looked at last (see
-- _look_at_isolation); null when nobody looked.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS isolation jsonb;
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS isolation_at timestamptz;
-- The tenants that have a grant of it, or had one. By holding one, a tenant agrees that its views and functions over
-- this one's tables end with these (see _take_dependents); also those that it made while it had a grant that has ended
-- since.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS granted_to uuid[] NOT NULL DEFAULT '{}';
CREATE UNIQUE INDEX IF NOT EXISTS tenant_schemas_schema_name_key
    ON edu_matrix_hub_schema.tenant_schemas (schema_name) WHERE status <> 'dropped';
CREATE UNIQUE INDEX IF NOT EXISTS tenant_schemas_institution_id_key
    ON edu_matrix_hub_schema.tenant_schemas (institution_id) WHERE status <> 'dropped';
CREATE UNIQUE INDEX IF NOT EXISTS tenant_schemas_owner_uid_key
    ON edu_matrix_hub_schema.tenant_schemas (owner_uid) WHERE status <> 'dropped';
CREATE INDEX IF NOT EXISTS tenant_schemas_owner_uid_dropped
    ON edu_matrix_hub_schema.tenant_schemas (owner_uid, dropped_at) WHERE status = 'dropped';
-- What an object of the same name left behind, the newest first.
CREATE INDEX IF NOT EXISTS tenant_schemas_schema_name_dropped
    ON edu_matrix_hub_schema.tenant_schemas (schema_name, dropped_at) WHERE status = 'dropped';
-- And what a tenant of the same institution did.
CREATE INDEX IF NOT EXISTS tenant_schemas_institution_id_dropped
    ON edu_matrix_hub_schema.tenant_schemas (institution_id, dropped_at) WHERE status = 'dropped';
-- How many TenantSchemas were dropped lately (see _deletion_brake).
DROP INDEX IF EXISTS edu_matrix_hub_schema.tenant_schemas_dropped_at;
CREATE INDEX IF NOT EXISTS tenant_schemas_deletion
    ON edu_matrix_hub_schema.tenant_schemas (coalesce(deletion_requested_at, dropped_at))
    WHERE status = 'dropped' AND owner_uid IS NOT NULL;
-- The tenants whose sessions every heartbeat looks for.
CREATE INDEX IF NOT EXISTS tenant_schemas_suspended
    ON edu_matrix_hub_schema.tenant_schemas (id) WHERE access = 'Suspended' AND status <> 'dropped';
-- Whose turn it is to be looked at.
CREATE INDEX IF NOT EXISTS tenant_schemas_isolation_at
    ON edu_matrix_hub_schema.tenant_schemas (isolation_at NULLS FIRST)
    WHERE status = 'active' AND access <> 'Suspended';
CREATE INDEX IF NOT EXISTS tenant_schemas_not_isolated
    ON edu_matrix_hub_schema.tenant_schemas (isolation_at NULLS FIRST)
    WHERE status = 'active' AND access <> 'Suspended' AND isolation <> '[]';
CREATE INDEX IF NOT EXISTS tenant_schemas_keeper
    ON edu_matrix_hub_schema.tenant_schemas (keeper) WHERE keeper IS NOT NULL;
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- Rows from before these columns take what bears their names, if the schema belongs to the tenant's owner role. The
-- roles are taken too when no schema of the name stands: their names have digits of the tenant's id in them. What a
-- schema that was set aside is, 60_schema_backups.sql finds out.
UPDATE edu_matrix_hub_schema.tenant_schemas AS t
SET schema_oid = coalesce(t.schema_oid, found.schema), owner_role_oid = coalesce(t.owner_role_oid, found.owner),
    reader_role_oid = coalesce(t.reader_role_oid, found.reader),
    writer_role_oid = coalesce(t.writer_role_oid, found.writer)
FROM (
    SELECT w.id, n.oid AS schema, o.oid AS owner, rd.oid AS reader, wr.oid AS writer
    FROM edu_matrix_hub_schema.tenant_schemas AS w
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name
    LEFT JOIN pg_catalog.pg_roles AS o ON o.rolname = w.owner_role
    LEFT JOIN pg_catalog.pg_roles AS rd ON rd.rolname = w.reader_role
    LEFT JOIN pg_catalog.pg_roles AS wr ON wr.rolname = w.writer_role
    WHERE w.status <> 'dropped' AND (n.oid IS NULL OR n.nspowner = o.oid)
) AS found
WHERE t.id = found.id
  AND (t.schema_oid IS NULL AND found.schema IS NOT NULL OR t.owner_role_oid IS NULL AND found.owner IS NOT NULL
       OR t.reader_role_oid IS NULL AND found.reader IS NOT NULL OR t.writer_role_oid IS NULL
       AND found.writer IS NOT NULL);

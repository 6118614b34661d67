-- What calls lock of a tenant (see _tenant_lock): two rows for each, which hold nothing else and are never changed.
-- They are not the tenant's own row, because a job shares one for hours while that row goes on being written; and they
-- are not advisory keys, because any session can hold those. They stay with the tenant's row when it is dropped, for it
-- may come back.
--
-- A tenant's rows are made with it. Those of tenants from before there was this table are made here.
DO $locks$
BEGIN
    -- Not altered once it stands: a job may hold a row of it for hours.
    IF pg_catalog.to_regclass('edu_matrix_hub_schema.tenant_locks') IS NULL THEN
        CREATE TABLE edu_matrix_hub_schema.tenant_locks (
            schema_id uuid NOT NULL,
            kind      text NOT NULL CHECK (kind IN ('structure', 'access')),
            PRIMARY KEY (schema_id, kind)
        );
        ALTER TABLE edu_matrix_hub_schema.tenant_locks ENABLE ROW LEVEL SECURITY;
    END IF;
    IF (SELECT c.relforcerowsecurity FROM pg_catalog.pg_class AS c
        WHERE c.oid = 'edu_matrix_hub_schema.tenant_locks'::regclass) THEN
        ALTER TABLE edu_matrix_hub_schema.tenant_locks NO FORCE ROW LEVEL SECURITY;
    END IF;
END
$locks$;
INSERT INTO edu_matrix_hub_schema.tenant_locks (schema_id, kind)
SELECT t.id, k.kind
FROM edu_matrix_hub_schema.tenant_schemas AS t
CROSS JOIN (VALUES ('structure'), ('access')) AS k (kind)
WHERE NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_locks AS l WHERE l.schema_id = t.id AND l.kind = k.kind)
ON CONFLICT DO NOTHING;

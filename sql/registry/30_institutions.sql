-- The institutions that tenants belong to. A row is made by the platform's own application, or by the operator when its
-- TenantDatabase says that unknown institutions are to be registered. The operator closes the TenantSchema of one that
-- is suspended or closed; a closed one gets no new tenant.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.institutions (
    id         uuid        PRIMARY KEY,
    name       text        CHECK (pg_catalog.octet_length(name) <= 1024),
    status     text        NOT NULL DEFAULT 'active',
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
-- How the institution stands in the application's own table, as the latest survey saw it; null where none names it. One
-- that was there once and is no more is gone. The registry's own word counts before it.
ALTER TABLE edu_matrix_hub_schema.institutions
    ADD COLUMN IF NOT EXISTS source_status text
        CONSTRAINT institutions_source_status_check CHECK (source_status IN ('active', 'suspended', 'gone'));
ALTER TABLE edu_matrix_hub_schema.institutions ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
-- Apart from the table, since in former releases none could be suspended.
ALTER TABLE edu_matrix_hub_schema.institutions
    DROP CONSTRAINT IF EXISTS institutions_status_check,
    ADD CONSTRAINT institutions_status_check CHECK (status IN ('active', 'suspended', 'closed'));

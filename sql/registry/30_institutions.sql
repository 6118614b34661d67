-- The institutions that tenants belong to. A row is made by the platform's own application, or by the operator when its
-- TenantDatabase says that unknown institutions are to be registered.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.institutions (
    id         uuid        PRIMARY KEY,
    name       text        CHECK (pg_catalog.octet_length(name) <= 1024),
    status     text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'closed')),
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
ALTER TABLE edu_matrix_hub_schema.institutions ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

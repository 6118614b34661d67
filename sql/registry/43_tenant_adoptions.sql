-- Schemas that are being adopted: what was found there by hand and becomes a tenant. There is no row of tenant_schemas
-- until all of it is the tenant's, so that nothing but adopt_tenant_schema() acts on it. `schema_id` is the id that the
-- tenant has then, and its roles stand already. Objects are gone through in the order of the catalogue and its
-- identifiers, in a first round all, in later ones those that are left: `at_class` and `at_object` are the last that
-- were, and `held` are those of the latest call that another session held.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.tenant_adoptions (
    schema_id       uuid        PRIMARY KEY,
    schema_oid      oid         NOT NULL,
    schema_name     text        NOT NULL,
    owner_cluster   text        NOT NULL,
    owner_namespace text        NOT NULL,
    owner_name      text        NOT NULL,
    owner_uid       text        NOT NULL,
    keeper          integer,
    owner_role      text        NOT NULL,
    reader_role     text        NOT NULL,
    writer_role     text        NOT NULL,
    owner_role_oid  oid         NOT NULL,
    reader_role_oid oid         NOT NULL,
    writer_role_oid oid         NOT NULL,
    -- What was there before: its owner, grants and comment, for a person who asks later.
    former          jsonb       NOT NULL,
    digest          text        NOT NULL,
    moved           integer     NOT NULL DEFAULT 0,
    total           integer     NOT NULL,
    round           integer     NOT NULL DEFAULT 1,
    at_class        oid         NOT NULL DEFAULT 0,
    at_object       oid         NOT NULL DEFAULT 0,
    held            oid[]       NOT NULL DEFAULT '{}',
    began_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT tenant_adoptions_schema_oid_key UNIQUE (schema_oid)
);
ALTER TABLE edu_matrix_hub_schema.tenant_adoptions ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
-- Roles that had rights on the schema when it was adopted, and keep them (see _drift): by names, and by identifiers,
-- since another role may get the name.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS kept_roles text[] NOT NULL DEFAULT '{}';
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS kept_role_oids oid[] NOT NULL DEFAULT '{}';
-- How many objects its schema had when it was adopted; null of other tenants.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS adopted_objects integer;

-- What the owner of a tenant gives to others, as the spec of its TenantSchema says: one row for each entry of
-- spec.grants that the database's owners allow, `n` its place there. A grantee is another tenant, named by its
-- TenantSchema. `tables` null means all tables, also later ones.
--
-- Which tenant that is, is found out each time (see tenant_grant_targets): one that does not exist yet gets its rights
-- when it appears, and one that is gone has none. `grantee_id` remembers which tenant had them last, to say where that
-- went, and `grantee_namespace_uid` in which namespace it was: a namespace that is made again is another one, and gets
-- nothing until the grant is changed, or a user asks for another look at its grantor: `request` is the last such word.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.tenant_grants (
    schema_id             uuid     NOT NULL REFERENCES edu_matrix_hub_schema.tenant_schemas (id) ON DELETE CASCADE,
    n                     smallint NOT NULL,
    to_namespace          text     NOT NULL,
    to_name               text     NOT NULL,
    privileges            text[]   NOT NULL CHECK (privileges <@ ARRAY['Read', 'Write']),
    tables                text[],
    request               text,
    grantee_id            uuid     REFERENCES edu_matrix_hub_schema.tenant_schemas (id) ON DELETE SET NULL,
    grantee_namespace_uid text,
    PRIMARY KEY (schema_id, n)
);
CREATE INDEX IF NOT EXISTS tenant_grants_grantee_id ON edu_matrix_hub_schema.tenant_grants (grantee_id);
ALTER TABLE edu_matrix_hub_schema.tenant_grants ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- The roles that were given rights on a tenant's tables because of its grants, by object identifier. They have what the
-- grants say and nothing else; one without a grant stays here until all is taken from it.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.tenant_grantees (
    schema_id uuid NOT NULL REFERENCES edu_matrix_hub_schema.tenant_schemas (id) ON DELETE CASCADE,
    role_oid  oid  NOT NULL,
    PRIMARY KEY (schema_id, role_oid)
);
ALTER TABLE edu_matrix_hub_schema.tenant_grantees ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- Tenants by the TenantSchema that they belong to.
CREATE INDEX IF NOT EXISTS tenant_schemas_owner
    ON edu_matrix_hub_schema.tenant_schemas (owner_namespace, owner_name) WHERE status <> 'dropped';

-- Each grant with the tenant that it is to at this moment, and the roles of that which read and write by it; null while
-- there is none. The owner role is one of them, so that the grantee's views and migrations can use what its
-- applications can. A tenant whose TenantSchema let go of it keeps what it has, unless another tenant has that name.
-- Nobody writes by a grant to a tenant whose writes are taken (see _block_writes).
CREATE OR REPLACE VIEW edu_matrix_hub_schema.tenant_grant_targets AS
SELECT g.schema_id, g.n, g.privileges, g.tables, o.id AS grantee_id,
       CASE WHEN o.id IS NOT NULL
            THEN ARRAY[o.reader_role_oid, o.writer_role_oid, o.owner_role_oid] END AS reading,
       CASE WHEN o.id IS NOT NULL AND t.taken_members IS NULL AND 'Write' = ANY (g.privileges)
            THEN ARRAY[o.writer_role_oid, o.owner_role_oid] END AS writing
FROM edu_matrix_hub_schema.tenant_grants AS g
JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = g.schema_id
LEFT JOIN LATERAL (
    SELECT c.id, c.reader_role_oid, c.writer_role_oid, c.owner_role_oid
    FROM edu_matrix_hub_schema.tenant_schemas AS c
    WHERE c.owner_namespace = g.to_namespace AND c.owner_name = g.to_name AND c.owner_cluster = t.owner_cluster
      AND c.status <> 'dropped' AND c.status IN ('active', 'suspended', 'released') AND c.id <> t.id
      AND coalesce(c.owner_namespace_uid = g.grantee_namespace_uid, true)
    ORDER BY c.status = 'released', c.created_at DESC, c.id
    LIMIT 1) AS o ON true;

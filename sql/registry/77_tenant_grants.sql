-- What the owner of a tenant gives to others, as the spec of its TenantSchema says: one row for each entry of
-- spec.grants that the database's owners allow, `n` its place there. A grantee is another tenant, named by its
-- TenantSchema, or a role of the server that these owners offer, `to_role`. `tables` null means all tables, also later
-- ones.
--
-- Which tenant that is, is found out each time (see tenant_grant_targets): one that does not exist yet gets its rights
-- when it appears, and one that is gone has none. `grantee_id` remembers which tenant had them last, to say where that
-- went, and `grantee_namespace_uid` in which namespace it was: a namespace that is made again is another one, and gets
-- nothing until the grant is changed, or a user asks for another look at its grantor: `request` is the last such word.
-- So it is with a role: `role_oid` is the one that got the grant first, and one that is made again is another.
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
ALTER TABLE edu_matrix_hub_schema.tenant_grants ALTER COLUMN to_namespace DROP NOT NULL;
ALTER TABLE edu_matrix_hub_schema.tenant_grants ALTER COLUMN to_name DROP NOT NULL;
ALTER TABLE edu_matrix_hub_schema.tenant_grants ADD COLUMN IF NOT EXISTS to_role text;
ALTER TABLE edu_matrix_hub_schema.tenant_grants ADD COLUMN IF NOT EXISTS role_oid oid;
ALTER TABLE edu_matrix_hub_schema.tenant_grants DROP CONSTRAINT IF EXISTS tenant_grants_to_check;
ALTER TABLE edu_matrix_hub_schema.tenant_grants ADD CONSTRAINT tenant_grants_to_check
    CHECK (pg_catalog.num_nonnulls(to_role, to_name) = 1 AND (to_name IS NULL) = (to_namespace IS NULL));
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

-- Roles of the server to which grants may be, but for our own (see our_roles): neither PostgreSQL's and the provider's,
-- nor those that could take more than a grant gives, by an attribute or as members of such a role.
CREATE OR REPLACE VIEW edu_matrix_hub_schema.grantable_roles AS
SELECT r.oid, r.rolname
FROM pg_catalog.pg_roles AS r
WHERE r.oid >= 16384 AND NOT (r.rolsuper OR r.rolcreaterole OR r.rolbypassrls)
  AND r.rolname !~ '^(rds|cloudsql|alloydb|azure)'
  AND NOT EXISTS (
      WITH RECURSIVE above AS (
          SELECT m.roleid FROM pg_catalog.pg_auth_members AS m WHERE m.member = r.oid
          UNION
          SELECT m.roleid FROM above AS a JOIN pg_catalog.pg_auth_members AS m ON m.member = a.roleid
      )
      SELECT FROM above AS a JOIN pg_catalog.pg_roles AS h ON h.oid = a.roleid
      WHERE h.rolsuper OR h.rolcreaterole OR h.rolbypassrls OR h.rolname ~ '^(rds|cloudsql|alloydb|azure)'
         OR h.rolname IN (SELECT i.owner_role FROM edu_matrix_hub_schema.installation AS i
                          UNION ALL SELECT i.operator_role FROM edu_matrix_hub_schema.installation AS i));

-- Our own roles: those of tenants, also of what is being adopted or is set aside, those that the functions stand on,
-- and from PostgreSQL 16 on all others that these administer.
CREATE OR REPLACE VIEW edu_matrix_hub_schema.our_roles AS
SELECT w.oid
FROM edu_matrix_hub_schema.tenant_schemas AS t
CROSS JOIN LATERAL unnest(t.login_oids || ARRAY[t.owner_role_oid, t.reader_role_oid, t.writer_role_oid,
                                                t.deleter_role_oid]) AS w (oid)
WHERE w.oid IS NOT NULL
UNION ALL
SELECT w.oid
FROM edu_matrix_hub_schema.tenant_adoptions AS a
CROSS JOIN LATERAL (VALUES (a.owner_role_oid), (a.reader_role_oid), (a.writer_role_oid)) AS w (oid)
UNION ALL
SELECT r.oid
FROM edu_matrix_hub_schema.installation AS i
JOIN pg_catalog.pg_roles AS r ON r.rolname IN (i.owner_role, i.admin_role, i.operator_role)
                              OR r.oid = i.connect_role_oid
UNION ALL
SELECT k.role_oid FROM edu_matrix_hub_schema.role_keepers AS k WHERE k.role_oid IS NOT NULL
UNION ALL
SELECT m.roleid
FROM edu_matrix_hub_schema.role_keepers AS k
JOIN pg_catalog.pg_auth_members AS m ON m.member = k.role_oid AND m.admin_option;

-- Each grant with the tenant that it is to at this moment, and the roles of that which read and write by it; null while
-- there is none. The owner role is one of them, so that the grantee's views and migrations can use what its
-- applications can. A tenant whose TenantSchema let go of it keeps what it has, unless another tenant has that name.
-- A grant to a role reads and writes by that one alone, as long as it bears its name and may have grants.
-- Nobody writes by a grant to a tenant whose writes are taken (see _block_writes).
CREATE OR REPLACE VIEW edu_matrix_hub_schema.tenant_grant_targets AS
SELECT g.schema_id, g.n, g.privileges, g.tables, o.id AS grantee_id,
       CASE WHEN o.id IS NOT NULL THEN ARRAY[o.reader_role_oid, o.writer_role_oid, o.owner_role_oid]
            WHEN r.oid IS NOT NULL THEN ARRAY[r.oid] END AS reading,
       CASE WHEN t.taken_members IS NOT NULL OR NOT 'Write' = ANY (g.privileges) THEN NULL
            WHEN o.id IS NOT NULL THEN ARRAY[o.writer_role_oid, o.owner_role_oid]
            WHEN r.oid IS NOT NULL THEN ARRAY[r.oid] END AS writing
FROM edu_matrix_hub_schema.tenant_grants AS g
JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = g.schema_id
LEFT JOIN LATERAL (
    SELECT c.id, c.reader_role_oid, c.writer_role_oid, c.owner_role_oid
    FROM edu_matrix_hub_schema.tenant_schemas AS c
    WHERE c.owner_namespace = g.to_namespace AND c.owner_name = g.to_name AND c.owner_cluster = t.owner_cluster
      AND c.status <> 'dropped' AND c.status IN ('active', 'suspended', 'released') AND c.id <> t.id
      AND coalesce(c.owner_namespace_uid = g.grantee_namespace_uid, true)
    ORDER BY c.status = 'released', c.created_at DESC, c.id
    LIMIT 1) AS o ON true
-- Which roles are ours is asked once, before a role has its first grant: the answer takes as long as there are tenants.
LEFT JOIN edu_matrix_hub_schema.grantable_roles AS r
  ON r.rolname = g.to_role::pg_catalog.name
 AND (r.oid = g.role_oid
      OR g.role_oid IS NULL AND r.oid NOT IN (SELECT w.oid FROM edu_matrix_hub_schema.our_roles AS w));

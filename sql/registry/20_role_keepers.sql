-- Role keepers, used from PostgreSQL 16 on. There, the role that creates another one holds ADMIN on it for good, and
-- every GRANT or REVOKE of a role walks through everything that the role which runs it may administer. One creator of
-- all roles makes a create slower with every tenant. A keeper creates and keeps the roles of a few dozen tenants,
-- through the one function that it owns.
--
-- Keepers come in two layers for the same reason: one without parent is made by the owner role and keeps a few
-- dozen keepers (`parent` is its n), which keep the roles of tenants. One that is not open has no room. On 15
-- the table stays empty.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.role_keepers (
    n             integer     PRIMARY KEY,
    parent        integer     REFERENCES edu_matrix_hub_schema.role_keepers (n),
    role_name     text        NOT NULL UNIQUE,
    function_name text        NOT NULL UNIQUE,
    is_open       boolean     NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX IF NOT EXISTS role_keepers_open ON edu_matrix_hub_schema.role_keepers (n)
    WHERE is_open AND parent IS NOT NULL;
CREATE INDEX IF NOT EXISTS role_keepers_parent ON edu_matrix_hub_schema.role_keepers (parent);
ALTER TABLE edu_matrix_hub_schema.role_keepers ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
-- Which role it is; one from before this column is the role that owns its function.
ALTER TABLE edu_matrix_hub_schema.role_keepers ADD COLUMN IF NOT EXISTS role_oid oid;
UPDATE edu_matrix_hub_schema.role_keepers AS k
SET role_oid = p.proowner
FROM pg_catalog.pg_proc AS p
WHERE k.role_oid IS NULL AND p.pronamespace = 'edu_matrix_hub_schema'::pg_catalog.regnamespace
  AND p.proname = k.function_name
  AND pg_catalog.pg_get_userbyid(p.proowner) = k.role_name;
-- The role through which the logins of its tenants connect (see _connect_group), once there is one.
ALTER TABLE edu_matrix_hub_schema.role_keepers ADD COLUMN IF NOT EXISTS connect_role_oid oid;

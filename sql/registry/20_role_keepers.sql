-- Role keepers, used from PostgreSQL 16 on. There, who creates a role holds ADMIN on it for good, and every change of a
-- membership makes the next privilege check walk that list again; one creator of all roles makes a create slower with
-- every tenant. A keeper creates and keeps the roles of a few dozen tenants, through the one function that it owns.
--
-- On 15 the table stays empty. A keeper that is not open takes no further tenants.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.role_keepers (
    n             integer     PRIMARY KEY,
    role_name     text        NOT NULL UNIQUE,
    function_name text        NOT NULL UNIQUE,
    is_open       boolean     NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX IF NOT EXISTS role_keepers_open ON edu_matrix_hub_schema.role_keepers (n) WHERE is_open;
ALTER TABLE edu_matrix_hub_schema.role_keepers ENABLE ROW LEVEL SECURITY;

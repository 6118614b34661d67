-- The registry schema and its one row about itself: which functions are installed, which cluster and TenantDatabase
-- manage it, and the epoch, a number that grows whenever another operator process becomes responsible.
--
-- Repeating it changes nothing. It fails when a schema of this name stands that belongs to somebody else: whoever could
-- create it first would otherwise decide what our functions read.

-- What follows locks one table after the other. An operator's call that is under way holds some of them and may want others,
-- so it is waited for here, as a claim of the lane would; and so is whoever is just making a role keeper.
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('edu_matrix_hub_schema/lane', 0));
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('edu_matrix_hub_schema/role_keepers', 0));

DO $schema$
DECLARE
    holder text;
BEGIN
    SELECT r.rolname INTO holder
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner
    WHERE n.nspname = 'edu_matrix_hub_schema';
    IF holder IS NULL THEN
        CREATE SCHEMA edu_matrix_hub_schema;
    ELSIF holder <> current_user THEN
        RAISE EXCEPTION 'schema "edu_matrix_hub_schema" belongs to role "%", not to "%"; drop it, or name its owner as the owner role',
            holder, current_user;
    END IF;
END
$schema$;

CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.installation (
    singleton             boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    installation_id       uuid        NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    owner_role            text        NOT NULL,
    admin_role            text        NOT NULL,
    -- What record_installation() stamped at the end of the script.
    functions_version     text,
    functions_checksum    text,
    functions_fingerprint text,
    contract              integer,
    -- The identity that claim_lane() pinned, and who holds the lane now.
    cluster               text,
    tenant_database       text,
    holder                text,
    epoch                 bigint      NOT NULL DEFAULT 0,
    claimed_at            timestamptz,
    surveyed_at           timestamptz,
    pruned_at             timestamptz,
    installed_at          timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at            timestamptz NOT NULL DEFAULT pg_catalog.now()
);
ALTER TABLE edu_matrix_hub_schema.installation ENABLE ROW LEVEL SECURITY;

INSERT INTO edu_matrix_hub_schema.installation (owner_role, admin_role)
SELECT current_user, pg_catalog.regexp_replace(current_user::text, '_owner$', '') || '_admin'
ON CONFLICT DO NOTHING;

-- The registry schema, what its calls lock, and its one row about itself: which functions are installed,
-- which cluster and TenantDatabase manage it, and the epoch, a number that grows whenever another operator
-- process becomes responsible.
--
-- Repeating it changes nothing. It fails when a schema of this name stands that belongs to another role: a role that
-- created it first would otherwise decide what our functions read.

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
        RAISE EXCEPTION 'schema "edu_matrix_hub_schema" belongs to role "%", not to "%"; '
                        'drop it, or name its owner as the owner role',
            holder, current_user;
    END IF;
END
$schema$;

-- What is locked are tables and rows of ours, and never advisory keys: those are open to every login of the database,
-- and pg_locks shows them, so that one idle session could stop everything.
--
--   lane_lock       the table itself: every changing call of an operator shares it, a claim of the lane takes it alone
--   registry_locks  a row for each thing that one call at a time does (the tenants' locks are in tenant_locks)
--
-- Neither is altered once it stands: a call may hold a row of it, and this script would wait with other locks
-- in its hands. Only where row-level security is forced on it, no call holds one, since its rows are hidden
-- (see _need_all_rows).
DO $locks$
DECLARE
    forced regclass;
BEGIN
    IF pg_catalog.to_regclass('edu_matrix_hub_schema.lane_lock') IS NULL THEN
        CREATE TABLE edu_matrix_hub_schema.lane_lock (singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton));
        ALTER TABLE edu_matrix_hub_schema.lane_lock ENABLE ROW LEVEL SECURITY;
    END IF;
    IF pg_catalog.to_regclass('edu_matrix_hub_schema.registry_locks') IS NULL THEN
        CREATE TABLE edu_matrix_hub_schema.registry_locks (name text PRIMARY KEY);
        ALTER TABLE edu_matrix_hub_schema.registry_locks ENABLE ROW LEVEL SECURITY;
    END IF;
    FOR forced IN
        SELECT c.oid FROM pg_catalog.pg_class AS c
        WHERE c.oid IN ('edu_matrix_hub_schema.lane_lock'::regclass, 'edu_matrix_hub_schema.registry_locks'::regclass)
          AND c.relforcerowsecurity
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', forced);
    END LOOP;
END
$locks$;
INSERT INTO edu_matrix_hub_schema.registry_locks (name)
VALUES ('survey'), ('claim_job'), ('role_keepers'), ('deletions')
ON CONFLICT DO NOTHING;

-- What follows locks one table after the other. An operator's call that is under way holds some of them and
-- may want others, so it is waited for here, as a claim of the lane would; and so is a session that is just
-- making a role keeper.
LOCK TABLE edu_matrix_hub_schema.lane_lock IN EXCLUSIVE MODE;
SELECT FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = 'role_keepers' FOR UPDATE;

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
    -- The identity that claim_lane() pinned, and the process that holds the lane now.
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
-- Who may call what acts for every tenant. Former releases had the admin role alone.
ALTER TABLE edu_matrix_hub_schema.installation
    ADD COLUMN IF NOT EXISTS operator_role text NOT NULL
        DEFAULT pg_catalog.left(pg_catalog.regexp_replace(current_user::text, '_owner$', ''), 54) || '_operator';
-- What fingerprints are keyed with (see tenant_fingerprints). Only the owner role can read it.
ALTER TABLE edu_matrix_hub_schema.installation
    ADD COLUMN IF NOT EXISTS fingerprint_key bigint NOT NULL
        DEFAULT pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::text, 0);
-- The holder of the lane: the process that claimed it, by a number that it drew; where it is; and when it was heard of
-- last, which is null when it left in order. `beats` counts claims, surveys and heartbeats: a registry that has counted
-- fewer than its holder heard of is an older state of the database.
ALTER TABLE edu_matrix_hub_schema.installation
    ADD COLUMN IF NOT EXISTS claim_id          uuid,
    ADD COLUMN IF NOT EXISTS lease             text,
    ADD COLUMN IF NOT EXISTS claimed_from      text,
    ADD COLUMN IF NOT EXISTS heartbeat_at      timestamptz,
    ADD COLUMN IF NOT EXISTS beats             bigint NOT NULL DEFAULT 0,
    -- The other operator that asked for the lane of a holder at work, and when last. Until when nothing is taken away
    -- because the holder before may still be at work.
    ADD COLUMN IF NOT EXISTS contested_at      timestamptz,
    ADD COLUMN IF NOT EXISTS contested_by      jsonb,
    ADD COLUMN IF NOT EXISTS unsettled_until   timestamptz,
    -- The timeline of the write-ahead log, and which database of which server it was, when the lane was claimed last.
    ADD COLUMN IF NOT EXISTS timeline          bigint,
    ADD COLUMN IF NOT EXISTS place             text,
    -- Nothing expires and nothing is purged until then, why, and since when.
    ADD COLUMN IF NOT EXISTS quiet_since       timestamptz,
    ADD COLUMN IF NOT EXISTS quiet_until       timestamptz,
    ADD COLUMN IF NOT EXISTS quiet_reason      text,
    -- Up to when a person confirmed what is taken away, and when too many backups expired at once.
    ADD COLUMN IF NOT EXISTS confirmed_until   timestamptz,
    ADD COLUMN IF NOT EXISTS expiry_stopped_at timestamptz,
    -- What was set aside between these is to be brought back: the time that a user wrote, and when it was first heard.
    ADD COLUMN IF NOT EXISTS bring_back_since  timestamptz,
    ADD COLUMN IF NOT EXISTS bring_back_until  timestamptz,
    -- The times before this one, [{since, until}...]: one that is written again keeps its end.
    ADD COLUMN IF NOT EXISTS bring_backs       jsonb NOT NULL DEFAULT '[]',
    -- What a tenant that is made now may do beyond its schema, as a survey found it; null when none looked.
    ADD COLUMN IF NOT EXISTS isolation         jsonb;
ALTER TABLE edu_matrix_hub_schema.installation ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
DO $forced$
BEGIN
    IF pg_catalog.row_security_active('edu_matrix_hub_schema.installation'::regclass) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = 'row-level security that is forced on table edu_matrix_hub_schema.installation hides its row, '
            'and an event trigger forces it again (there are: '
            || (SELECT coalesce(pg_catalog.string_agg(pg_catalog.quote_ident(e.evtname), ', ' ORDER BY e.evtname),
                                'none that is enabled')
                FROM pg_catalog.pg_event_trigger AS e WHERE e.evtenabled <> 'D')
            || '); let it leave out schema edu_matrix_hub_schema';
    END IF;
END
$forced$;

-- By these the registry knows whether its identifiers of schemas and roles are of this world (see _as_registered).
ALTER TABLE edu_matrix_hub_schema.installation ADD COLUMN IF NOT EXISTS registry_oid oid;
ALTER TABLE edu_matrix_hub_schema.installation ADD COLUMN IF NOT EXISTS system_identifier bigint;
-- The role through which tenants' logins connect (see _connect_role).
ALTER TABLE edu_matrix_hub_schema.installation ADD COLUMN IF NOT EXISTS connect_role_oid oid;

INSERT INTO edu_matrix_hub_schema.installation (owner_role, admin_role)
SELECT current_user, pg_catalog.regexp_replace(current_user::text, '_owner$', '') || '_admin'
ON CONFLICT DO NOTHING;

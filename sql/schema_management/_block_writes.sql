-- The memberships by which others than the operator write to a tenant: those in its writer role, and those in its owner
-- role, which may also give rights away. Memberships of superusers take nothing and give nothing, and the run login's
-- is the operator's (see open_tenant_session).
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._writing_members(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS TABLE (role text, role_name text, member text, member_oid oid, grantor oid, admin boolean, inherit boolean,
               set boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT g.role, g.name, r.rolname::text, r.oid, m.grantor, m.admin_option,
           -- These two columns exist from 16 on.
           coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true),
           coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
    FROM (VALUES ('writer', tenant.writer_role, tenant.writer_role_oid),
                 ('owner', tenant.owner_role, tenant.owner_role_oid)) AS g (role, name, oid)
    JOIN pg_auth_members AS m ON m.roleid = g.oid
    JOIN pg_roles AS r ON r.oid = m.member AND NOT r.rolsuper AND r.rolname <> current_user
    WHERE m.member NOT IN (tenant.owner_role_oid, tenant.reader_role_oid, tenant.writer_role_oid)
      AND m.member IS DISTINCT FROM edu_matrix_hub_schema._run_oid(tenant)
      AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.role_keepers AS k WHERE k.role_oid = m.member)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._writing_members(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Takes from all but the operator what they write to a tenant with, and remembers it: the memberships in its writer and
-- its owner role, USAGE of the schema from the writer role, and grants to others (see _open_grants). Who loses a
-- membership becomes a member of the reader role instead, and, with `deleting`, of the deleter role. No table is
-- locked, and it holds from the next statement on, also in open sessions; sessions that may have become one of the
-- roles, or are just writing, are ended. Done again, it takes what came since.
--
-- From PostgreSQL 16 on a membership that another role gave is not ours to end. It stays, is drift as long as writes
-- are taken (see _blocked_drift), and is of no use to who has no other way into the schema. Memberships of roles that
-- another database uses stay too.
--
-- Returns {taken: n, left: [member...], open: {count, name, statement} of grants that could not be taken, prepared: the
-- first transaction that a writer can still commit, ended: n, not_ended: [{pid, role}...], shared_with: [database...]}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._block_writes(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               deleting boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET client_min_messages = error
AS $function$
DECLARE
    shares   CONSTANT text[] := edu_matrix_hub_schema._other_databases(edu_matrix_hub_schema._own_roles(tenant));
    sessions jsonb;
    writers  oid[];
    taken    jsonb;
BEGIN
    -- What was taken by now.
    SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant.id;
    -- Before anything is taken: who may have become one of the roles cannot be seen later.
    writers := edu_matrix_hub_schema._possible_writers(tenant);
    taken := CASE WHEN shares = '{}' THEN edu_matrix_hub_schema._take_writers(tenant, deleting)
                  ELSE coalesce(tenant.taken_members, '[]') END;
    -- Before grants are touched, which a session of the tenant's may hold.
    sessions := edu_matrix_hub_schema._end_writers(tenant, writers);
    IF has_schema_privilege(tenant.writer_role_oid, tenant.schema_oid, 'USAGE') THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
        BEGIN
            PERFORM edu_matrix_hub_schema._persist(format('REVOKE ALL ON SCHEMA %I FROM %I CASCADE',
                                                          tenant.schema_name, tenant.writer_role));
        EXCEPTION WHEN lock_not_available OR internal_error THEN
            -- It is drift then, and the next repair does it.
            NULL;
        END;
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
    END IF;
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET taken_members = taken, writers_due = writers <> '{}', writers_due_seen_at = NULL, shared_with = shares
    WHERE t.id = tenant.id;
    RETURN sessions || jsonb_build_object(
        'open', edu_matrix_hub_schema._take_grants(tenant), 'taken', jsonb_array_length(taken), 'shared_with', shares,
        'prepared', (SELECT min(x.gid) FROM pg_prepared_xacts AS x JOIN pg_roles AS r ON r.rolname = x.owner
                     WHERE x.database = current_database() AND r.oid = ANY (writers)),
        'left', (SELECT coalesce(jsonb_agg(DISTINCT m.member), '[]')
                 FROM edu_matrix_hub_schema._writing_members(tenant) AS m));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._block_writes(edu_matrix_hub_schema.tenant_schemas, boolean) FROM PUBLIC;

-- Ends the memberships in writer and owner that are ours to end, lets their members read, and delete with `deleting`,
-- and returns what is taken by now, as `taken_members` has it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._take_writers(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               deleting boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET client_min_messages = error
AS $function$
DECLARE
    before jsonb;
    taken  jsonb;
    part   record;
BEGIN
    SELECT coalesce(jsonb_agg(to_jsonb(m) || jsonb_build_object('member_oid', m.member_oid::bigint,
                                                                'grantor', m.grantor::bigint)), '[]') INTO before
    FROM edu_matrix_hub_schema._writing_members(tenant) AS m;
    FOR part IN
        SELECT m.role_name, string_agg(quote_ident(m.member), ', ') AS members
        FROM (SELECT d.role_name, d.member, row_number() OVER (PARTITION BY d.role_name ORDER BY d.member) AS n
              FROM (SELECT DISTINCT b.value ->> 'role_name' AS role_name, b.value ->> 'member' AS member
                    FROM jsonb_array_elements(before) AS b) AS d) AS m
        GROUP BY m.role_name, (m.n - 1) / 500
    LOOP
        -- CASCADE, since one that has ADMIN may have given it on. What others gave is passed over.
        PERFORM edu_matrix_hub_schema._as_keeper(tenant.keeper, format('REVOKE %I FROM %s CASCADE', part.role_name,
                                                                       part.members));
    END LOOP;
    SELECT coalesce(jsonb_agg(d.facts), '[]') INTO taken
    FROM (SELECT jsonb_build_object('role', b.value ->> 'role', 'member', b.value ->> 'member',
                                    'oid', (b.value ->> 'member_oid')::bigint,
                                    'admin', bool_or((b.value ->> 'admin')::boolean),
                                    'inherit', bool_or((b.value ->> 'inherit')::boolean),
                                    'set', bool_or((b.value ->> 'set')::boolean), 'given', '[]'::jsonb) AS facts
          FROM jsonb_array_elements(before) AS b
          WHERE NOT EXISTS (SELECT FROM edu_matrix_hub_schema._writing_members(tenant) AS m
                            WHERE m.role = b.value ->> 'role'
                              AND m.member_oid::bigint = (b.value ->> 'member_oid')::bigint
                              AND m.grantor::bigint = (b.value ->> 'grantor')::bigint)
          GROUP BY b.value ->> 'role', b.value ->> 'member', b.value ->> 'member_oid') AS d;
    -- Of one that was taken before and came back, what it had first counts.
    taken := coalesce(tenant.taken_members, '[]') || (
        SELECT coalesce(jsonb_agg(n.value), '[]') FROM jsonb_array_elements(taken) AS n
        WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(coalesce(tenant.taken_members, '[]')) AS o
                          WHERE (o.value ->> 'role', o.value ->> 'oid') = (n.value ->> 'role', n.value ->> 'oid')));
    taken := edu_matrix_hub_schema._let_members(tenant, taken, 'reader', true);
    RETURN edu_matrix_hub_schema._let_members(tenant, taken, 'deleter', deleting);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._take_writers(edu_matrix_hub_schema.tenant_schemas, boolean) FROM PUBLIC;

-- Makes those whose memberships were taken members of the reader or the deleter role, unless they are already, or ends
-- what was given so; returns `taken` with what is given by now. A role that was dropped, and one that has its name,
-- gets nothing.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._let_members(tenant edu_matrix_hub_schema.tenant_schemas,
                                                              taken jsonb, what text, wanted boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET client_min_messages = error
AS $function$
DECLARE
    role_name CONSTANT text := CASE what WHEN 'reader' THEN tenant.reader_role
                                         ELSE edu_matrix_hub_schema._deleter_name(tenant) END;
    role_oid  CONSTANT oid := CASE what WHEN 'reader' THEN tenant.reader_role_oid
                                        ELSE (SELECT t.deleter_role_oid FROM edu_matrix_hub_schema.tenant_schemas AS t
                                              WHERE t.id = tenant.id) END;
    part      record;
    given     bigint[] := '{}'::bigint[];
BEGIN
    IF role_oid IS NULL THEN
        RETURN taken;
    END IF;
    FOR part IN
        SELECT m.action, array_agg(m.name) AS names, array_agg(m.oid) AS oids
        FROM (SELECT r.rolname::text AS name, r.oid::bigint AS oid,
                     CASE WHEN NOT wanted THEN 'leave'
                          -- What migrations log in with inherits nothing of the owner, and is to read.
                          WHEN r.rolname = ANY (edu_matrix_hub_schema._own_logins(tenant)) THEN 'join inherit'
                          ELSE concat_ws(' ', 'join',
                                         CASE WHEN bool_or((e.value ->> 'inherit')::boolean) THEN 'inherit' END,
                                         CASE WHEN bool_or((e.value ->> 'set')::boolean) THEN 'set' END) END AS action,
                     row_number() OVER (ORDER BY r.rolname) AS n
              FROM jsonb_array_elements(taken) AS e
              JOIN pg_roles AS r ON r.oid::bigint = (e.value ->> 'oid')::bigint AND r.rolname = e.value ->> 'member'
              GROUP BY r.rolname, r.oid
              HAVING wanted <> bool_or(e.value -> 'given' ? what)
                 AND wanted <> EXISTS (SELECT FROM pg_auth_members AS a WHERE a.roleid = role_oid AND a.member = r.oid)
             ) AS m
        GROUP BY m.action, (m.n - 1) / 500
    LOOP
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, part.action, part.names, role_name);
        given := given || part.oids;
    END LOOP;
    RETURN (SELECT coalesce(jsonb_agg(CASE
                WHEN NOT wanted THEN e.value || jsonb_build_object('given', (e.value -> 'given') - what)
                WHEN (e.value ->> 'oid')::bigint = ANY (given)
                    THEN e.value || jsonb_build_object('given', (e.value -> 'given') || to_jsonb(what))
                ELSE e.value END), '[]')
            FROM jsonb_array_elements(taken) AS e);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._let_members(edu_matrix_hub_schema.tenant_schemas, jsonb, text, boolean)
    FROM PUBLIC;

-- Gives back what _block_writes took, exactly, and takes what was given instead. Logins of a credential that was
-- issued meanwhile become members of what all are for its purpose. Returns the members that do not exist any more, or
-- are other roles by now.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._allow_writes(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET client_min_messages = error
AS $function$
DECLARE
    taken jsonb := tenant.taken_members;
    part  record;
    lost  text[];
BEGIN
    taken := edu_matrix_hub_schema._let_members(tenant, taken, 'deleter', false);
    PERFORM edu_matrix_hub_schema._let_members(tenant, taken, 'reader', false);
    PERFORM edu_matrix_hub_schema._give_back_grants(tenant);
    FOR part IN
        SELECT m.role, m.action, array_agg(m.name) AS names
        FROM (SELECT CASE e.value ->> 'role' WHEN 'writer' THEN tenant.writer_role ELSE tenant.owner_role END AS role,
                     r.rolname::text AS name, row_number() OVER (ORDER BY r.rolname) AS n,
                     concat_ws(' ', 'join', CASE WHEN (e.value ->> 'admin')::boolean THEN 'admin' END,
                               CASE WHEN (e.value ->> 'inherit')::boolean THEN 'inherit' END,
                               CASE WHEN (e.value ->> 'set')::boolean THEN 'set' END) AS action
              FROM jsonb_array_elements(taken) AS e
              JOIN pg_roles AS r ON r.oid::bigint = (e.value ->> 'oid')::bigint
               AND r.rolname = e.value ->> 'member') AS m
        GROUP BY m.role, m.action, (m.n - 1) / 500
    LOOP
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, part.action, part.names, part.role);
    END LOOP;
    FOR part IN
        SELECT ARRAY[l.name] AS names, w.role, w.action
        FROM edu_matrix_hub_schema.tenant_credentials AS c
        CROSS JOIN LATERAL unnest(edu_matrix_hub_schema._own_logins(tenant)) AS l (name)
        JOIN (VALUES ('connection', tenant.writer_role, tenant.writer_role_oid, 'join inherit'),
                     ('migration', tenant.owner_role, tenant.owner_role_oid, 'join set'))
             AS w (purpose, role, oid, action) ON w.purpose = c.purpose
        WHERE c.schema_id = tenant.id AND l.name IN (c.login, c.previous_login)
          AND NOT EXISTS (SELECT FROM pg_auth_members AS a WHERE a.roleid = w.oid
                            AND a.member = to_regrole(quote_ident(l.name)))
    LOOP
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, part.action, part.names, part.role);
    END LOOP;
    IF NOT has_schema_privilege(tenant.writer_role_oid, tenant.schema_oid, 'USAGE') THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
        PERFORM edu_matrix_hub_schema._persist(format('GRANT USAGE ON SCHEMA %I TO %I', tenant.schema_name,
                                                      tenant.writer_role));
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
    END IF;
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET taken_members = NULL, taken_grants = NULL, writers_due = false, writers_due_seen_at = NULL
    WHERE t.id = tenant.id;
    SELECT coalesce(array_agg(DISTINCT e.value ->> 'member'), '{}') INTO lost
    FROM jsonb_array_elements(taken) AS e
    WHERE NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid::bigint = (e.value ->> 'oid')::bigint
                        AND r.rolname = e.value ->> 'member')
      AND e.value ->> 'member' <> ALL (tenant.logins);
    RETURN lost;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._allow_writes(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- The roles that can write to a tenant by membership in its writer or owner role, directly or through others, those
-- included from which that was taken before. Not superusers, the caller and what is the operator's.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._possible_writers(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS oid[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH RECURSIVE reached AS (
        SELECT m.member_oid AS oid FROM edu_matrix_hub_schema._writing_members(tenant) AS m
        UNION
        SELECT (e.value ->> 'oid')::oid FROM jsonb_array_elements(coalesce(tenant.taken_members, '[]')) AS e
        UNION
        SELECT a.member FROM reached AS f JOIN pg_auth_members AS a ON a.roleid = f.oid
    )
    SELECT coalesce(array_agg(r.oid), '{}')
    FROM reached AS f
    JOIN pg_roles AS r ON r.oid = f.oid
    WHERE NOT r.rolsuper AND r.rolname NOT IN (current_user, session_user)
      AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.role_keepers AS k WHERE k.role_oid = r.oid)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._possible_writers(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Ends the sessions of these roles in this database, with `before` those that began until then; where the server does
-- not show when one began, it ends too: {ended: n, not_ended: [{pid, role}...]}, of these at most ten. The session of a
-- login that is not the tenant's own is ours to end only with pg_signal_backend.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_writers(tenant edu_matrix_hub_schema.tenant_schemas,
                                                              writers oid[], before timestamptz DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    own       text[];
    session   record;
    ended     integer := 0;
    not_ended jsonb := '[]'::jsonb;
BEGIN
    PERFORM pg_stat_clear_snapshot();
    SELECT coalesce(array_agg(DISTINCT a.usename::text), '{}') INTO own
    FROM pg_stat_activity AS a
    WHERE a.usesysid = ANY (writers) AND a.datname = current_database()
      AND a.usename = ANY (edu_matrix_hub_schema._own_logins(tenant));
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', own);
    FOR session IN
        SELECT a.pid, a.usename FROM pg_stat_activity AS a
        WHERE a.usesysid = ANY (writers) AND a.datname = current_database()
          AND (before IS NULL OR coalesce(a.backend_start <= before, true))
        ORDER BY a.pid
    LOOP
        BEGIN
            PERFORM pg_terminate_backend(session.pid);
            ended := ended + 1;
        EXCEPTION WHEN insufficient_privilege THEN
            IF jsonb_array_length(not_ended) < 10 THEN
                not_ended := not_ended || jsonb_build_object('pid', session.pid, 'role', session.usename);
            END IF;
        END;
    END LOOP;
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', own);
    RETURN jsonb_build_object('ended', ended, 'not_ended', not_ended);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_writers(edu_matrix_hub_schema.tenant_schemas, oid[], timestamptz)
    FROM PUBLIC;

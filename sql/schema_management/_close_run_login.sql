-- Ends the sessions of a tenant's run login in every database and waits until they are gone, for two seconds. The
-- caller has closed it, so that no new one comes in. The server lists a session that is ended until it has undone what
-- that was doing.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_run_sessions(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    login   CONSTANT text := edu_matrix_hub_schema._run_name(tenant);
    give_up CONSTANT timestamptz := clock_timestamp() + interval '2 seconds';
    left_pid integer;
BEGIN
    LOOP
        PERFORM edu_matrix_hub_schema._end_sessions(tenant, ARRAY[login], true);
        PERFORM pg_stat_clear_snapshot();
        SELECT min(a.pid) INTO left_pid FROM pg_stat_activity AS a
        WHERE a.usesysid = edu_matrix_hub_schema._run_oid(tenant);
        EXIT WHEN left_pid IS NULL;
        IF clock_timestamp() > give_up THEN
            PERFORM edu_matrix_hub_schema._refuse('busy',
                format('session %1$s of login "%2$s" does not end; a superuser can run: '
                       'SELECT pg_terminate_backend(%1$s)', left_pid, login));
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_run_sessions(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Closes a tenant's run login: it may not log in, has no password, and has no session; null when it is so already, and
-- else whether a session may still come in before the caller's commit, so that the caller is to be called again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._close_run_login(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    login    CONSTANT text := edu_matrix_hub_schema._run_name(tenant);
    was_open CONSTANT boolean := (SELECT r.rolcanlogin FROM pg_roles AS r
                                  WHERE r.oid = edu_matrix_hub_schema._run_oid(tenant) AND r.rolname = login);
BEGIN
    IF edu_matrix_hub_schema._logins_are_others(tenant) THEN
        -- It is the login of the database that this one is a copy of, and so are its sessions.
        UPDATE edu_matrix_hub_schema.tenant_sessions AS s SET closed_at = clock_timestamp()
        WHERE s.schema_id = tenant.id AND s.closed_at IS NULL;
        RETURN NULL;
    END IF;
    IF was_open THEN
        PERFORM edu_matrix_hub_schema._shut_out(tenant, 'forget', ARRAY[login], ARRAY[login], true);
        RETURN true;
    END IF;
    IF was_open IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._end_run_sessions(tenant);
    END IF;
    UPDATE edu_matrix_hub_schema.tenant_sessions AS s SET closed_at = clock_timestamp()
    WHERE s.schema_id = tenant.id AND s.closed_at IS NULL;
    RETURN CASE WHEN FOUND THEN false END;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_run_login(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Closes the run logins whose password has ended and that no operator closed, since theirs is gone, and ends their
-- sessions; a survey calls this. It waits for no lock, and what fails is left for the next survey.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_left_tenant_sessions() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    tenant_id uuid;
    tenant    edu_matrix_hub_schema.tenant_schemas;
BEGIN
    FOR tenant_id IN
        SELECT s.schema_id FROM edu_matrix_hub_schema.tenant_sessions AS s
        WHERE s.closed_at IS NULL AND s.open_until < clock_timestamp()
        ORDER BY random() LIMIT 5
    LOOP
        BEGIN
            CONTINUE WHEN NOT edu_matrix_hub_schema._tenant_lock(tenant_id, 'access', true);
            SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant_id;
            PERFORM edu_matrix_hub_schema._close_run_login(tenant);
        EXCEPTION WHEN OTHERS THEN
            CONTINUE;
        END;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_left_tenant_sessions() FROM PUBLIC;

-- What differs of the run logins of tenants: attributes, memberships, and that one is open without a session of the
-- operator's. It is a part of _drift, whose columns it has. What a session left in its defaults is no drift: the next
-- one begins without them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._run_drift(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, kind text, what text, repairable boolean, statement text, role_name text,
               other_role text, helper integer)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH server AS MATERIALIZED (
        SELECT current_setting('server_version_num')::integer >= 160000 AS modern, i.connect_role_oid AS entry
        FROM edu_matrix_hub_schema.installation AS i
    ), keeper AS MATERIALIZED (
        SELECT k.n, k.role_oid AS oid FROM edu_matrix_hub_schema.role_keepers AS k
        UNION ALL
        SELECT NULL, r.oid FROM pg_roles AS r WHERE r.rolname = current_user
    ), login AS MATERIALIZED (
        SELECT t.id, t.keeper, t.owner_role_oid, r.*, s.modern, s.entry, k.connect_role_oid AS entry_group,
               EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_sessions AS o
                       WHERE o.schema_id = t.id AND o.closed_at IS NULL AND o.open_until > clock_timestamp()) AS in_use
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        CROSS JOIN server AS s
        LEFT JOIN edu_matrix_hub_schema.role_keepers AS k ON k.n = t.keeper
        JOIN pg_roles AS r ON r.oid = edu_matrix_hub_schema._run_oid(t)
                          AND r.rolname = edu_matrix_hub_schema._run_name(t)
        WHERE t.id = ANY ($1) AND t.status IN ('active', 'suspended')
          AND edu_matrix_hub_schema._other_databases(edu_matrix_hub_schema._own_roles(t)) = '{}'
    )
    SELECT l.id, 'login', format('login "%s" %s', l.rolname, a.what),
           a.ours AND NOT l.rolsuper AND (l.modern OR NOT l.rolreplication),
           format('ALTER ROLE %I %s', l.rolname, a.attribute), l.rolname::text, NULL, l.keeper
    FROM login AS l
    CROSS JOIN LATERAL (
        VALUES (l.rolcanlogin AND NOT l.in_use, 'is open, and the operator has no session', 'NOLOGIN PASSWORD NULL',
                true)
        UNION ALL
        -- From 16 on only a role that has CREATEDB itself may take it from another.
        SELECT w.is_set, 'has ' || w.attribute, 'NO' || w.attribute, w.ours
        FROM (VALUES ('CREATEROLE', l.rolcreaterole, true), ('CREATEDB', l.rolcreatedb, NOT l.modern),
                     ('SUPERUSER', l.rolsuper, false), ('REPLICATION', l.rolreplication, false),
                     ('BYPASSRLS', l.rolbypassrls, false)) AS w (attribute, is_set, ours)
        ) AS a (is_so, what, attribute, ours)
    WHERE a.is_so
    UNION ALL
    SELECT l.id, 'login', format(CASE WHEN w.wanted THEN 'login "%s" may give on "%s"'
                                      ELSE 'login "%s" is a member of "%s"' END, l.rolname, g.rolname),
           CASE WHEN l.modern THEN giver.oid IS NOT NULL ELSE NOT g.rolsuper END,
           format('REVOKE %s%I FROM %I', CASE WHEN w.wanted THEN 'ADMIN OPTION FOR ' ELSE '' END, g.rolname, l.rolname)
           || CASE WHEN l.modern THEN format(' GRANTED BY %I', pg_get_userbyid(m.grantor)) ELSE '' END,
           l.rolname::text, g.rolname::text, giver.n
    FROM login AS l
    JOIN pg_auth_members AS m ON m.member = l.oid
    JOIN pg_roles AS g ON g.oid = m.roleid
    CROSS JOIN LATERAL (SELECT coalesce(g.oid IN (l.owner_role_oid, l.entry, l.entry_group), false) AS wanted) AS w
    LEFT JOIN keeper AS giver ON giver.oid = m.grantor AND l.modern
    WHERE NOT w.wanted OR m.admin_option
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._run_drift(uuid[]) FROM PUBLIC;

-- The sessions from elsewhere that may act as a tenant's owner role: sessions here of logins that can become it,
-- whether directly or through another role. A session that has become a role stays it after the membership has ended,
-- and an owner may drop what it cannot name. Not those of the tenant's own logins, which _close_tenant_logins ends, of
-- superusers, and of the caller.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._owner_sessions(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS integer[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(array_agg(a.pid ORDER BY a.pid), '{}')
    FROM pg_stat_activity AS a
    JOIN edu_matrix_hub_schema._can_become(tenant.owner_role_oid) AS f (oid) ON f.oid = a.usesysid
    JOIN pg_roles AS r ON r.oid = f.oid AND NOT r.rolsuper AND r.rolname NOT IN (current_user, session_user)
    WHERE a.datname = current_database() AND r.rolname <> ALL (edu_matrix_hub_schema._own_logins(tenant))
      AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.role_keepers AS k WHERE k.role_oid = r.oid)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._owner_sessions(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Ends those sessions, and returns what can act as the owner all the same: [{kind, name, statement}...], at most ten of
-- a kind. Another login's session is ours to end only with pg_signal_backend. A function of the owner's that runs with
-- its rights, in a schema of others, a membership that others gave, and a login that another database uses too, are not
-- ours to take away; refusing because of them would let a tenant keep itself.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_owner_sessions(
    tenant edu_matrix_hub_schema.tenant_schemas, namespace oid, pids integer[], members jsonb
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    session record;
    acting  jsonb := '[]'::jsonb;
BEGIN
    FOR session IN SELECT a.pid, a.usename FROM pg_stat_activity AS a WHERE a.pid = ANY (pids) ORDER BY a.pid LOOP
        BEGIN
            PERFORM pg_terminate_backend(session.pid);
        EXCEPTION WHEN insufficient_privilege THEN
            IF jsonb_array_length(acting) < 10 THEN
                acting := acting || jsonb_build_object(
                    'kind', 'session', 'name', format('%s of login "%s"', session.pid, session.usename),
                    'statement', format('SELECT pg_terminate_backend(%s)', session.pid));
            END IF;
        END;
    END LOOP;
    RETURN acting || (
        SELECT coalesce(jsonb_agg(f.facts), '[]')
        FROM (SELECT jsonb_build_object('kind', 'function', 'name', i.identity,
                                        'statement', format('DROP %s %s', upper(i.type), i.identity)) AS facts
              FROM pg_shdepend AS s
              JOIN pg_proc AS p ON p.oid = s.objid AND p.prosecdef AND p.pronamespace <> namespace
              CROSS JOIN LATERAL pg_identify_object(s.classid, s.objid, 0) AS i
              WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = tenant.owner_role_oid AND s.deptype = 'o'
                AND s.classid = 'pg_proc'::regclass
                AND s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
              ORDER BY p.oid LIMIT 10) AS f
    ) || (
        SELECT coalesce(jsonb_agg(f.facts), '[]')
        FROM (SELECT jsonb_build_object(
                         'kind', 'member', 'name', m.value ->> 'member',
                         'statement', format('REVOKE %I FROM %I', m.value ->> 'role', m.value ->> 'member')
                                      || coalesce(format(' GRANTED BY %I', g.rolname), '')) AS facts
              FROM jsonb_array_elements(members) AS m (value)
              JOIN pg_auth_members AS a ON a.roleid = tenant.owner_role_oid
               AND a.member = to_regrole(quote_ident(m.value ->> 'member'))
              LEFT JOIN pg_roles AS g ON g.oid = a.grantor
              WHERE (m.value ->> 'left')::boolean AND m.value ->> 'role' = tenant.owner_role
              LIMIT 10) AS f
    ) || (
        -- Logins of migrations that stay open, since another database uses them too.
        SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'kind', 'login', 'name', r.rolname, 'statement', format('ALTER ROLE %I NOLOGIN', r.rolname))), '[]')
        FROM edu_matrix_hub_schema.migration_logins AS l
        JOIN pg_roles AS r ON r.oid = l.oid AND r.rolcanlogin
        WHERE l.schema_id = tenant.id
    );
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_owner_sessions(edu_matrix_hub_schema.tenant_schemas, oid,
                                                                 integer[], jsonb) FROM PUBLIC;

-- What is said of it; nothing when there is none.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._acting_text(acting jsonb) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT '; these can still act as its owner and drop its tables, until a superuser runs: '
           || string_agg(format('%s (%s %s)', a.value ->> 'statement', a.value ->> 'kind', a.value ->> 'name'), ', '
                         ORDER BY a.n) FILTER (WHERE a.n <= 5)
           || CASE WHEN count(*) > 5 THEN ' and more' ELSE '' END
    FROM jsonb_array_elements(acting) WITH ORDINALITY AS a (value, n)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._acting_text(jsonb) FROM PUBLIC;

-- Opens a tenant's run login for one session of the operator's, in which it works as the tenant's owner role: what runs
-- a tenant's code, or what only the owner of a table may do. SET ROLE in a session of the operator's own would be no
-- boundary, since that code could go back by RESET ROLE; from here it goes back to a login that has nothing else.
--
-- What a former session left is fenced off first, no matter which operator opened it: the login is closed and its
-- sessions end, which answers `partial` (commit, and call again); and what only a session of the login can undo, its
-- prepared transactions and a default that no function can take back (see _keeps_defaults), comes as `before` in the
-- detail. Then the operator logs in, runs these statements one by one, and calls again with another password: nothing
-- else runs in such a session. Without `before` the login has the defaults that it is given here, as many connections
-- as are asked for, and a password that ends by the server's clock. It is closed by close_tenant_session(). For a
-- backup the login of a tenant that is suspended is opened as well: it only reads, which runs next to nothing of the
-- tenant's, and its session is not ended with those of the tenant.
--
-- options: {schema_id, verifier, seconds, connections?: 1 to 3, purpose?: "work" or "backup", requested_by?}. Without
-- them it is one connection, for work. detail: {login, owner_role, schema_oid, group, seconds,
-- before: [statement...]}; `group` is what all logins are members of, for the rules that let them in.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.open_tenant_session(epoch bigint, installation_id uuid, options jsonb)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    -- As PostgreSQL writes them: a password that was sent in its place must not become one.
    verifier     CONSTANT text := substring(options ->> 'verifier' FROM
        '^SCRAM-SHA-256[$][0-9]+:[A-Za-z0-9+/]+=*[$][A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$');
    seconds      CONSTANT integer := (options ->> 'seconds')::integer;
    connections  CONSTANT integer := coalesce((options ->> 'connections')::integer, 1);
    purpose      CONSTANT text := coalesce(options ->> 'purpose', 'work');
    attempt      text := format('open a session of tenant %s', options ->> 'schema_id');
    answer       jsonb := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    tenant       edu_matrix_hub_schema.tenant_schemas;
    login        text;
    before       text[];
    is_kept      boolean;
    opened       timestamptz;
    error_detail text;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    BEGIN
        tenant := edu_matrix_hub_schema._lock_tenant((options ->> 'schema_id')::uuid, 'access', true);
        attempt := format('open a session of schema "%s"', tenant.schema_name);
        IF verifier IS NULL OR coalesce(seconds NOT BETWEEN 1 AND 86400, true) THEN
            PERFORM edu_matrix_hub_schema._refuse('internal', 'a SCRAM-SHA-256 verifier and 1 to 86400 seconds are '
                                                              'needed');
        ELSIF connections NOT BETWEEN 1 AND 3 OR purpose NOT IN ('work', 'backup') THEN
            PERFORM edu_matrix_hub_schema._refuse('internal',
                'connections are 1 to 3, and the purpose is work or backup');
        ELSIF tenant.access = 'Suspended' AND purpose <> 'backup' THEN
            PERFORM edu_matrix_hub_schema._refuse('internal', 'the tenant is suspended, and its logins stay closed');
        END IF;
        PERFORM edu_matrix_hub_schema._require_schema(tenant);
        PERFORM edu_matrix_hub_schema._require_roles(tenant);
        PERFORM edu_matrix_hub_schema._refuse_shared(tenant);
        IF edu_matrix_hub_schema._close_run_login(tenant) THEN
            RETURN edu_matrix_hub_schema._result('partial',
                format('a former session of schema "%s" is ended; commit, and call again', tenant.schema_name),
                tenant.id);
        END IF;
        login := edu_matrix_hub_schema._run_name(tenant);
        PERFORM edu_matrix_hub_schema._ready_login(tenant, login, 'run');
        SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant.id;
        is_kept := coalesce(edu_matrix_hub_schema._keeps_defaults(edu_matrix_hub_schema._run_oid(tenant)), true);
        SELECT coalesce(array_agg(x.statement ORDER BY x.n, x.gid, x.part), '{}') INTO before
        FROM (SELECT 1 AS n, p.gid, s.part, s.statement
              FROM (SELECT x.gid, x.owner FROM pg_prepared_xacts AS x
                    LEFT JOIN edu_matrix_hub_schema.tenant_sessions AS o ON o.schema_id = tenant.id
                    WHERE x.database = current_database()
                      AND (x.owner = login
                           -- The session can have become the owner role; so can a migration, at another time.
                           OR x.owner = tenant.owner_role AND x.prepared BETWEEN o.opened_at AND o.closed_at)
                    ORDER BY x.prepared LIMIT 20) AS p
              CROSS JOIN LATERAL (VALUES (1, format('SELECT pg_catalog.set_config(%L, %L, false)', 'role', p.owner)),
                                         (2, format('ROLLBACK PREPARED %L', p.gid))) AS s (part, statement)
              UNION ALL
              SELECT 0, NULL, d.n, d.statement
              FROM (VALUES (1, format('SELECT pg_catalog.set_config(%L, %L, false)', 'role', 'none')),
                           (2, format('ALTER ROLE %I RESET ALL', login)),
                           (3, format('ALTER ROLE %I IN DATABASE %I RESET ALL', login, current_database())))
                   AS d (n, statement)
              WHERE is_kept) AS x;
        PERFORM edu_matrix_hub_schema._as_keeper(tenant.keeper, concat_ws('; ',
            CASE WHEN NOT is_kept THEN edu_matrix_hub_schema._login_defaults(login, tenant.schema_name, seconds, 60)
                 END,
            format('ALTER ROLE %I LOGIN CONNECTION LIMIT %s VALID UNTIL %L', login, connections,
                   clock_timestamp() + make_interval(secs => seconds))));
        -- It has a statement of its own: see _open_login.
        PERFORM edu_matrix_hub_schema._as_keeper(tenant.keeper, format('ALTER ROLE %I PASSWORD %L', login, verifier));
        opened := clock_timestamp();
        -- While something of the former session is left, that one's times stay.
        INSERT INTO edu_matrix_hub_schema.tenant_sessions AS s (schema_id, opened_at, open_until, purpose)
        VALUES (tenant.id, opened, opened + make_interval(secs => seconds), purpose)
        ON CONFLICT (schema_id) DO UPDATE
        SET opened_at = CASE WHEN before = '{}' THEN excluded.opened_at ELSE s.opened_at END,
            open_until = excluded.open_until, closed_at = NULL, purpose = excluded.purpose;
        INSERT INTO edu_matrix_hub_schema.opened_logins AS o (login_oid, schema_id, opened_at, made_in)
        VALUES (edu_matrix_hub_schema._run_oid(tenant), tenant.id, opened, edu_matrix_hub_schema._this_database())
        ON CONFLICT (login_oid) DO UPDATE
        SET schema_id = excluded.schema_id, opened_at = excluded.opened_at, made_in = excluded.made_in,
            known_pids = '{}';
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('open_tenant_session', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    RETURN edu_matrix_hub_schema._result('success', format('login "%s" of schema "%s" is open', login,
                                                           tenant.schema_name), tenant.id,
        jsonb_build_object('login', login, 'owner_role', tenant.owner_role, 'schema_oid', tenant.schema_oid::bigint,
                           'group', edu_matrix_hub_schema._connect_role_name(), 'before', before));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.open_tenant_session(bigint, uuid, jsonb) FROM PUBLIC;

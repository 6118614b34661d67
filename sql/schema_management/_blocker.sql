-- Who keeps a tenant's schema from being changed: the transaction that has changed its catalogue row and not ended, as one
-- uncommitted GRANT ... ON SCHEMA does. Returns {pid, role, since, text}, or {prepared, role, since, text} when it is a prepared
-- transaction, or null when nobody is found. `since` is null where the server does not show it to us.
--
-- The row itself says it, in xmax: our own wait has ended by the time that its failure is told, and with it what
-- pg_blocking_pids() knew. What was changed in a savepoint that is released already is not found.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._blocker(schema_id uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT CASE WHEN a.pid IS NOT NULL
           THEN jsonb_build_object('pid', a.pid, 'role', a.usename, 'since', a.xact_start, 'text',
                    format('session %s of role "%s" has changed the schema%s and not ended its transaction; end it, or run as a superuser: '
                           'SELECT pg_terminate_backend(%s)', a.pid, a.usename, coalesce(' in a transaction open since ' || a.xact_start, ''), a.pid))
           ELSE jsonb_build_object('prepared', p.gid, 'role', p.owner, 'since', p.prepared, 'text',
                    format('a transaction that role "%s" prepared at %s has changed the schema; run as a superuser: ROLLBACK PREPARED %L',
                           p.owner, p.prepared, p.gid)) END
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    JOIN pg_namespace AS n ON n.nspname = t.schema_name
    JOIN pg_locks AS l ON l.locktype = 'transactionid' AND l.transactionid = n.xmax AND l.granted
    LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
    LEFT JOIN pg_prepared_xacts AS p ON p.transaction = n.xmax
    WHERE t.id = $1 AND (a.pid IS NOT NULL OR p.gid IS NOT NULL) AND a.pid IS DISTINCT FROM pg_backend_pid()
    LIMIT 1
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._blocker(uuid) FROM PUBLIC;

-- What keeps a tenant from being changed: a session, or a transaction that was prepared and never ended, which has
-- changed one of the rows that the functions change, or holds a lock on something in the tenant's schema, in what was
-- set aside or copied of it, on one of these relations elsewhere, or on one of the tenant's roles. With `relations`
-- null only changed rows count, for calls that lock no table. Returns {pid, role, since, text} or {prepared, role,
-- since, text}, or null when none is found. `text` says what it holds and which statement ends it.
--
-- A login may change its own password and defaults, in any database of the server, and holds itself by that. We may not
-- read the row; but the user who changes one keeps a lock on its catalogue, and a login changes no other's.
--
-- It is asked after a wait has ended, and with it what pg_blocking_pids() knew. So it is the session that is most
-- likely in the way: one that has changed a row comes first, then the strongest lock, then the oldest transaction. What
-- was changed in a savepoint that is released already is not found, and so is not what our own functions change and
-- lock: for that see _at_work. The server does not show every role when a session's transaction began; then `since` is
-- when it was first met.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._blocker(uuid);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._blocker(schema_id uuid, relations oid[] DEFAULT '{}') RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH place AS MATERIALIZED (
        SELECT n.oid, n.nspname, n.xmax
        FROM pg_namespace AS n
        WHERE n.oid IN (SELECT t.schema_oid FROM edu_matrix_hub_schema.tenant_schemas AS t
                        WHERE t.id = $1 AND t.status <> 'dropped'
                        UNION ALL SELECT b.location_oid FROM edu_matrix_hub_schema.schema_backups AS b
                                  WHERE b.schema_id = $1 AND b.state IN ('complete', 'purging'))
    ), changed AS (
        SELECT p.xmax AS xid, 'has changed schema ' || quote_ident(p.nspname) AS what FROM place AS p
        UNION ALL SELECT t.xmax, 'has changed the row of this tenant'
                  FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = $1
        UNION ALL SELECT d.xmax, 'has changed the default privileges of role ' || quote_ident(t.owner_role)
                  FROM edu_matrix_hub_schema.tenant_schemas AS t JOIN pg_default_acl AS d
                    ON d.defaclrole = t.owner_role_oid WHERE t.id = $1
        UNION ALL SELECT b.xmax, 'has changed the row of a backup of this tenant'
                  FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.schema_id = $1
    ), own AS MATERIALIZED (
        SELECT r.oid, r.name
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        CROSS JOIN LATERAL unnest(ARRAY[t.owner_role_oid, t.reader_role_oid, t.writer_role_oid] || t.login_oids,
                                  ARRAY[t.owner_role, t.reader_role, t.writer_role] || t.logins) AS r (oid, name)
        WHERE t.id = $1
    ), lock AS MATERIALIZED (
        SELECT l.* FROM pg_locks AS l WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
    ), prepared AS (
        SELECT l.virtualtransaction, p.gid, p.prepared, p.owner, nullif(p.database, current_database()) AS elsewhere
        FROM lock AS l JOIN pg_prepared_xacts AS p ON p.transaction = l.transactionid
        WHERE l.locktype = 'transactionid' AND l.pid IS NULL
    ), held AS (
        SELECT 0 AS rank, c.what, l.pid, l.virtualtransaction
        FROM changed AS c JOIN lock AS l ON l.locktype = 'transactionid' AND l.transactionid = c.xid
        UNION ALL
        SELECT array_position(ARRAY['AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock',
                                    'ShareUpdateExclusiveLock', 'RowExclusiveLock', 'RowShareLock',
                                    'AccessShareLock'], l.mode),
               'holds a lock on ' || CASE l.locktype WHEN 'relation' THEN l.relation::regclass::text
                                          ELSE 'schema ' || l.objid::regnamespace::text END,
               l.pid, l.virtualtransaction
        FROM lock AS l
        WHERE relations IS NOT NULL AND l.database = (SELECT d.oid FROM pg_database AS d
                                                      WHERE d.datname = current_database())
          AND CASE l.locktype
              WHEN 'relation' THEN l.relation = ANY (relations)
                                   OR EXISTS (SELECT FROM pg_class AS c JOIN place AS p ON p.oid = c.relnamespace
                                              WHERE c.oid = l.relation)
              WHEN 'object' THEN l.classid = 'pg_namespace'::regclass AND l.objid IN (SELECT p.oid FROM place AS p)
              ELSE false END
        UNION ALL
        -- A grant that is not committed locks the role that it is given to, in any database of the server.
        SELECT 9, 'holds a lock on role ' || r.name, l.pid, l.virtualtransaction
        FROM lock AS l
        JOIN own AS r ON r.oid = l.objid
        WHERE relations IS NOT NULL AND l.locktype = 'object' AND l.database = 0 AND l.classid = 'pg_authid'::regclass
        UNION ALL
        SELECT 0, 'has changed role ' || quote_ident(s.rolname), l.pid, l.virtualtransaction
        FROM lock AS l
        LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
        LEFT JOIN prepared AS p ON l.pid IS NULL AND p.virtualtransaction = l.virtualtransaction
        JOIN pg_roles AS s ON s.oid = a.usesysid OR s.rolname = p.owner
        JOIN own AS r ON r.oid = s.oid
        WHERE l.locktype = 'relation' AND l.database = 0 AND l.mode = 'RowExclusiveLock'
          AND l.relation IN ('pg_authid'::regclass, 'pg_db_role_setting'::regclass)
    ), found AS (
        SELECT h.rank, h.what, a.pid, p.gid, p.elsewhere,
               coalesce(a.usename::text, p.owner::text, a.backend_type) AS role,
               coalesce(a.xact_start, p.prepared) AS begun
        FROM held AS h
        LEFT JOIN pg_stat_activity AS a ON a.pid = h.pid
        LEFT JOIN prepared AS p ON h.pid IS NULL AND p.virtualtransaction = h.virtualtransaction
        WHERE a.pid IS NOT NULL OR p.gid IS NOT NULL
        ORDER BY a.usename IS NULL AND p.gid IS NULL, h.rank, begun NULLS LAST, a.pid
        LIMIT 1
    ), dated AS (
        SELECT f.*, coalesce(
            CASE WHEN f.begun IS NULL THEN
                (SELECT min(o.metadata #>> '{blocker,since}') FROM edu_matrix_hub_schema.schema_operations AS o
                 WHERE o.schema_id = $1 AND o.completed_at > now() - interval '1 day'
                   AND o.metadata #>> '{blocker,pid}' = f.pid::text) END,
            to_char(coalesce(f.begun, clock_timestamp()) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS since
        FROM found AS f
    )
    SELECT CASE WHEN d.gid IS NULL
           THEN jsonb_build_object('pid', d.pid, 'role', d.role, 'since', d.since, 'text',
                    format('session %s of login "%s" %s, %s %s; end its transaction, or as a superuser or a member of '
                           'its role: SELECT pg_terminate_backend(%s)',
                           d.pid, d.role, d.what, CASE WHEN d.begun IS NULL THEN 'first met at'
                                                       ELSE 'in a transaction open since' END, d.since, d.pid))
           ELSE jsonb_build_object('prepared', d.gid, 'role', d.role, 'since', d.since, 'text',
                    format('transaction %L, prepared by role "%s" at %s, %s; '
                           'end it as that role or a superuser, in %s: ROLLBACK PREPARED %1$L',
                           d.gid, d.role, d.since, d.what,
                           coalesce('database "' || d.elsewhere || '"', 'this database'))) END
    FROM dated AS d
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._blocker(uuid, oid[]) FROM PUBLIC;

-- The same for the holder of a lock of ours (_tenant_lock): first the job that is running, as {job, since, text}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._at_work(schema_id uuid) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(
        (SELECT jsonb_build_object('job', j.id, 'since', d.since,
                                   'text', format('%s job %s has been running since %s', j.kind, j.id, d.since))
         FROM edu_matrix_hub_schema.schema_jobs AS j
         CROSS JOIN LATERAL (SELECT to_char(j.started_at AT TIME ZONE 'UTC',
                                            'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since) AS d
         WHERE j.schema_id = $1 AND j.state = 'running' ORDER BY j.started_at LIMIT 1),
        edu_matrix_hub_schema._blocker($1))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._at_work(uuid) FROM PUBLIC;

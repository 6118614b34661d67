-- Ends the sessions that still work on snapshots which no job wants any more, and returns how many. What a
-- snapshot reads may run the tenant's code, and such code can ignore statement_timeout and every cancellation;
-- it cannot ignore this.
--
-- A session may be ended by a login with its role. So, unlike all the others, this function runs as its caller, the
-- operator's login, and ends only sessions of that login that are in run_job. Another login's are left.

-- The process ids of the sessions that are inside of a sandbox that no open job owns: its job was cancelled or ended
-- ten seconds ago or earlier, or has been claimed by another worker. Nothing needs to be recorded for it: a session
-- that is inside holds a lock on the view `once`. The tenant's owner may lock that too, which is why the role of a
-- session counts as well.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.stray_sessions() RETURNS SETOF integer
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT DISTINCT l.pid
    FROM pg_namespace AS n
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'once'
    JOIN pg_locks AS l ON l.locktype = 'relation' AND l.relation = c.oid
     AND l.mode = 'AccessExclusiveLock' AND l.granted
    WHERE n.nspname >= 'edu_matrix_work_' AND n.nspname < 'edu_matrix_work`' AND n.nspowner = current_user::regrole
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
      AND l.pid <> pg_backend_pid()
      -- Where jobs are hidden (see _need_all_rows), every session looks like one that no job owns.
      AND NOT row_security_active('edu_matrix_hub_schema.schema_jobs'::regclass)
      AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j
                      WHERE j.sandbox = n.nspname
                        AND (j.state IN ('requested', 'running')
                             OR j.finished_at > clock_timestamp() - interval '10 seconds'))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.stray_sessions() FROM PUBLIC;

-- Ends them, as above.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.end_stray_sessions() RETURNS bigint
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT count(*) FILTER (WHERE pg_terminate_backend(a.pid))
    FROM edu_matrix_hub_schema.stray_sessions() AS s (pid)
    JOIN pg_stat_activity AS a ON a.pid = s.pid
    WHERE a.usename = current_user AND position('run_job' IN a.query) > 0
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.end_stray_sessions() FROM PUBLIC;

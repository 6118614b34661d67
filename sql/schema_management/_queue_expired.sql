-- Queues the removal of expired backups, oldest first and a hundred at a time, and returns how many; a survey calls it. A
-- removal that was begun or asked for and did not come to its end, because something is in its way, is queued again after
-- an hour.
--
-- It also removes sandboxes that no open job owns, left behind when an operator went away in the middle of a job. One that is
-- still in use by a session that has not noticed yet is left for the next time.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._queue_expired(requested_by text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    expired record;
    orphan  record;
    queued  integer := 0;
BEGIN
    FOR expired IN
        SELECT b.id
        FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.state IN ('complete', 'purging') AND NOT edu_matrix_hub_schema._world_moved()
          AND (b.expires_at < now()
               OR (b.state = 'purging' AND b.updated_at < now() - interval '1 hour')
               OR EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.backup_id = b.id AND j.kind = 'purge' AND j.state = 'failed'))
          AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j
                          WHERE j.backup_id = b.id AND j.kind = 'purge'
                            AND (j.state IN ('requested', 'running') OR j.finished_at > now() - interval '1 hour'))
        ORDER BY b.expires_at
        LIMIT 100
    LOOP
        IF edu_matrix_hub_schema._queue_purge(expired.id, coalesce(_queue_expired.requested_by, 'expiry')) IS NOT NULL THEN
            queued := queued + 1;
        END IF;
    END LOOP;
    FOR orphan IN
        SELECT n.nspname
        FROM pg_namespace AS n
        WHERE n.nspname >= 'edu_matrix_work_' AND n.nspname < 'edu_matrix_work`' AND n.nspowner = current_user::regrole
          AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.sandbox = n.nspname AND j.state IN ('requested', 'running'))
        -- Any of them: one that somebody holds must not keep its place at the front.
        ORDER BY random()
        LIMIT 5
    LOOP
        PERFORM edu_matrix_hub_schema._close_sandbox(orphan.nspname);
    END LOOP;
    RETURN queued;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._queue_expired(text) FROM PUBLIC;

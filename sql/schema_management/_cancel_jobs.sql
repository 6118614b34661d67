-- Cancels the open jobs that end with their tenant: snapshots, archives, and what is about the tenant itself; or those
-- that make one backup of it. Backups that were being made are cancelled in the catalogue too, and what archives left
-- in a store is removed. Only jobs that wait when `waiting_only`. Returns how many. Sandboxes of jobs that run are left
-- to the survey: their session still holds them.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._cancel_snapshots(uuid, uuid, boolean);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cancel_jobs(schema_id uuid, backup_id uuid, waiting_only boolean)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    cancelled integer;
    sandboxes text[];
    sandbox   text;
    archives  uuid[];
    archive   uuid;
BEGIN
    WITH found AS MATERIALIZED (
        SELECT j.id, j.kind, j.backup_id, j.state, j.sandbox
        FROM edu_matrix_hub_schema.schema_jobs AS j
        WHERE j.schema_id = _cancel_jobs.schema_id
          AND CASE WHEN _cancel_jobs.backup_id IS NULL THEN j.kind IN ('snapshot', 'archive')
                                                              OR j.subject_kind = 'tenant'
                   ELSE j.kind IN ('snapshot', 'archive') AND j.backup_id = _cancel_jobs.backup_id END
          AND (j.state = 'requested' OR (j.state = 'running' AND NOT waiting_only))
        ORDER BY j.id
        FOR UPDATE
    ), jobs AS (
        UPDATE edu_matrix_hub_schema.schema_jobs AS j SET state = 'cancelled', finished_at = clock_timestamp()
        FROM found AS f WHERE j.id = f.id
    ), backups AS (
        UPDATE edu_matrix_hub_schema.schema_backups AS b
        SET state = 'cancelled', error = 'cancelled', updated_at = clock_timestamp()
        FROM found AS f WHERE b.id = f.backup_id AND f.kind IN ('snapshot', 'archive')
          AND b.state IN ('requested', 'running')
    )
    SELECT count(*)::integer,
           coalesce(array_agg(f.sandbox) FILTER (WHERE f.state = 'requested' AND f.sandbox IS NOT NULL), '{}'),
           coalesce(array_agg(f.backup_id) FILTER (WHERE f.kind = 'archive'), '{}')
    INTO cancelled, sandboxes, archives
    FROM found AS f;
    FOREACH sandbox IN ARRAY sandboxes LOOP
        PERFORM edu_matrix_hub_schema._close_sandbox(sandbox);
    END LOOP;
    FOREACH archive IN ARRAY archives LOOP
        PERFORM edu_matrix_hub_schema._queue_left_uploads(archive);
    END LOOP;
    RETURN cancelled;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cancel_jobs(uuid, uuid, boolean) FROM PUBLIC;

-- Cancels the open snapshot jobs of a tenant, or of one backup of it, and their catalogue rows;
-- only those that wait when `waiting_only`. Returns how many. Sandboxes of jobs that run are left
-- to the survey: their session still holds them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cancel_snapshots(schema_id uuid, backup_id uuid, waiting_only boolean)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    cancelled integer;
    sandboxes text[];
    sandbox   text;
BEGIN
    WITH found AS MATERIALIZED (
        SELECT j.id, j.backup_id, j.state, j.sandbox
        FROM edu_matrix_hub_schema.schema_jobs AS j
        WHERE j.schema_id = _cancel_snapshots.schema_id AND j.kind = 'snapshot'
          AND (_cancel_snapshots.backup_id IS NULL OR j.backup_id = _cancel_snapshots.backup_id)
          AND (j.state = 'requested' OR (j.state = 'running' AND NOT waiting_only))
        ORDER BY j.id
        FOR UPDATE
    ), jobs AS (
        UPDATE edu_matrix_hub_schema.schema_jobs AS j SET state = 'cancelled', finished_at = clock_timestamp()
        FROM found AS f WHERE j.id = f.id
    ), backups AS (
        UPDATE edu_matrix_hub_schema.schema_backups AS b
        SET state = 'cancelled', error = 'cancelled', updated_at = clock_timestamp()
        FROM found AS f WHERE b.id = f.backup_id AND b.state IN ('requested', 'running')
    )
    SELECT count(*), coalesce(array_agg(f.sandbox) FILTER (WHERE f.state = 'requested' AND f.sandbox IS NOT NULL), '{}')
    INTO cancelled, sandboxes
    FROM found AS f;
    FOREACH sandbox IN ARRAY sandboxes LOOP
        PERFORM edu_matrix_hub_schema._close_sandbox(sandbox);
    END LOOP;
    RETURN cancelled;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cancel_snapshots(uuid, uuid, boolean) FROM PUBLIC;

-- Cancels the open snapshot jobs of a tenant, or of one backup of it, and their catalogue rows; only those that wait when
-- `waiting_only`. Returns how many. Sandboxes of jobs that run are left to the survey: their session still holds them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cancel_snapshots(schema_id uuid, backup_id uuid, waiting_only boolean) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    found     record;
    cancelled integer := 0;
BEGIN
    FOR found IN
        SELECT j.id, j.backup_id, j.state, j.sandbox
        FROM edu_matrix_hub_schema.schema_jobs AS j
        WHERE j.schema_id = _cancel_snapshots.schema_id AND j.kind = 'snapshot'
          AND (_cancel_snapshots.backup_id IS NULL OR j.backup_id = _cancel_snapshots.backup_id)
          AND (j.state = 'requested' OR (j.state = 'running' AND NOT waiting_only))
        ORDER BY j.id
        FOR UPDATE
    LOOP
        UPDATE edu_matrix_hub_schema.schema_jobs AS j SET state = 'cancelled', finished_at = clock_timestamp() WHERE j.id = found.id;
        UPDATE edu_matrix_hub_schema.schema_backups AS b
        SET state = 'cancelled', error = 'cancelled', updated_at = clock_timestamp()
        WHERE b.id = found.backup_id AND b.state IN ('requested', 'running');
        IF found.state = 'requested' THEN
            PERFORM edu_matrix_hub_schema._close_sandbox(found.sandbox);
        END IF;
        cancelled := cancelled + 1;
    END LOOP;
    RETURN cancelled;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cancel_snapshots(uuid, uuid, boolean) FROM PUBLIC;

-- Gives up a backup that is not complete. A job that runs is told by its next heartbeat, and cannot become done any
-- more: what it made is undone with its transaction. What is complete, or was given up before, is `unchanged`.
--
-- options: {backup_id, requested_by?}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.cancel_backup(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    requester    CONSTANT text := coalesce(options ->> 'requested_by', session_user::text);
    attempt      CONSTANT text := format('cancel backup %s', coalesce(options ->> 'backup_id', '(none)'));
    backup       edu_matrix_hub_schema.schema_backups;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.id = (options ->> 'backup_id')::uuid;
        IF backup.id IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', 'there is no such backup');
        ELSIF edu_matrix_hub_schema._cancel_jobs(backup.schema_id, backup.id, false) = 0 THEN
            SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.id = backup.id;
            RETURN edu_matrix_hub_schema._result('unchanged', format('backup %s is %s', backup.id, backup.state),
                                                 backup.schema_id, jsonb_build_object('backup_id', backup.id));
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('cancel_backup', backup.schema_id, requester, started, attempt,
                                                  SQLSTATE, SQLERRM, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(backup.schema_id, 'cancel_backup', 'success', requester, started, attempt,
                                       jsonb_build_object('backup_id', backup.id));
    RETURN edu_matrix_hub_schema._result('success', format('backup %s cancelled', backup.id), backup.schema_id,
                                         jsonb_build_object('backup_id', backup.id));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.cancel_backup(jsonb) FROM PUBLIC;

-- Asks for the removal of a backup by a job. A backup whose removal is asked for, under way or done is `unchanged`,
-- and so is one that holds nothing: it failed, was cancelled, or its schema is a living tenant again.
--
-- options: {backup_id, requested_by?}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.request_purge(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    requester     CONSTANT text := coalesce(options ->> 'requested_by', session_user::text);
    attempt       CONSTANT text := format('request the removal of backup %s',
                                          coalesce(options ->> 'backup_id', '(none)'));
    backup        edu_matrix_hub_schema.schema_backups;
    job           uuid;
    error_message text;
    error_detail  text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.id = (options ->> 'backup_id')::uuid;
        IF backup.id IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', 'there is no such backup');
        ELSIF backup.state IN ('requested', 'running') THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', 'it is just being made; cancel it first');
        END IF;
        job := edu_matrix_hub_schema._queue_purge(backup.id, requester);
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('request_purge', backup.schema_id, requester, started, attempt,
                                                  SQLSTATE, error_message, error_detail);
    END;
    IF job IS NULL THEN
        RETURN edu_matrix_hub_schema._result('unchanged',
            format('backup %s is %s, nothing is to be requested', backup.id, backup.state), backup.schema_id,
            jsonb_build_object('backup_id', backup.id));
    END IF;
    PERFORM edu_matrix_hub_schema._log(backup.schema_id, 'request_purge', 'success', requester, started, attempt,
                                       jsonb_build_object('backup_id', backup.id));
    RETURN edu_matrix_hub_schema._result('success', format('removal of backup %s requested', backup.id),
        backup.schema_id, jsonb_build_object('backup_id', backup.id, 'job_id', job));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.request_purge(jsonb) FROM PUBLIC;

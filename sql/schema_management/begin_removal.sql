-- Begins the removal of an archive: it is `purging` from then on, and nothing restores from it. Of one that failed or
-- was cancelled only the uploads are removed, and its row stays as it is. Begun before, it is `unchanged` with the same
-- detail. An error has ended the attempt, and another follows.
--
-- detail: {backup_id, store, location, manifest_location, uploads: [{attempt, store, location, manifest_location}...]}.
-- The first are null when no attempt was complete. `uploads` are those of all its attempts, the ended among them, for
-- an operator that was thought to be gone may have written after that; and of more than twenty those that are not
-- ended, and the newest. To delete what is not there is no error.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.begin_removal(epoch bigint, installation_id uuid, job_id uuid)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    answer        jsonb := edu_matrix_hub_schema._hold_job(epoch, installation_id, job_id, 'remove_archive', false);
    attempt       CONSTANT text := format('begin the removal of job %s', job_id);
    job           edu_matrix_hub_schema.schema_jobs;
    backup        edu_matrix_hub_schema.schema_backups;
    is_new        boolean;
    error_message text;
    error_detail  text;
    error_state   text;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    SELECT * INTO STRICT job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = begin_removal.job_id;
    BEGIN
        SELECT * INTO STRICT backup FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.id = job.backup_id FOR NO KEY UPDATE;
        IF backup.method <> 'Archive' OR backup.state IN ('requested', 'running') THEN
            PERFORM edu_matrix_hub_schema._refuse('internal',
                format('backup %s is a %s and %s', backup.id, backup.method, backup.state));
        END IF;
        UPDATE edu_matrix_hub_schema.schema_backups AS b SET state = 'purging', updated_at = clock_timestamp()
        WHERE b.id = backup.id AND b.state = 'complete';
        is_new := FOUND;
        UPDATE edu_matrix_hub_schema.schema_jobs AS j SET heartbeat_at = clock_timestamp() WHERE j.id = job.id;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            error_state := SQLSTATE;
    END;
    IF error_state IS NOT NULL THEN
        RETURN edu_matrix_hub_schema._job_answer(job, edu_matrix_hub_schema._failure('purge', job.schema_id,
            job.requested_by, started, attempt, error_state, error_message, error_detail));
    END IF;
    RETURN edu_matrix_hub_schema._result(CASE WHEN is_new THEN 'success' ELSE 'unchanged' END,
        format('removal of backup %s begun', backup.id), job.schema_id,
        jsonb_build_object(
            'backup_id', backup.id, 'store', backup.store, 'location', backup.location,
            'manifest_location', (SELECT u.manifest_location FROM edu_matrix_hub_schema.archive_uploads AS u
                                  WHERE u.backup_id = backup.id AND u.location = backup.location
                                  ORDER BY u.begun_at DESC LIMIT 1),
            'uploads', (
                SELECT coalesce(jsonb_agg(jsonb_build_object('attempt', u.attempt, 'store', u.store,
                                                             'location', u.location,
                                                             'manifest_location', u.manifest_location)
                                          ORDER BY u.begun_at, u.attempt), '[]')
                FROM (SELECT a.* FROM edu_matrix_hub_schema.archive_uploads AS a
                      WHERE a.backup_id = backup.id
                      ORDER BY a.ended_at IS NOT NULL, a.begun_at DESC, a.attempt
                      LIMIT 20) AS u)));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.begin_removal(bigint, uuid, uuid) FROM PUBLIC;

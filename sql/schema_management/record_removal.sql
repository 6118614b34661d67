-- Records that what begin_removal() named is deleted, and ends its job: an archive that was complete is `purged`, one
-- that failed or was cancelled stays so. Recorded before, it is `unchanged`. An error has ended the attempt, and
-- another follows.
--
-- options: {kept_by_store?: bool}. With it the store lets nothing be deleted, by a retention or a right of its own: the
-- catalogue gives the archive up, and says that its files are there until the store removes them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.record_removal(epoch bigint, installation_id uuid, job_id uuid,
                                                                options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    answer        jsonb := edu_matrix_hub_schema._hold_job(epoch, installation_id, job_id, 'remove_archive', true);
    kept          CONSTANT boolean := coalesce((options ->> 'kept_by_store')::boolean, false);
    attempt       CONSTANT text := format('record the removal of job %s', job_id);
    job           edu_matrix_hub_schema.schema_jobs;
    backup        edu_matrix_hub_schema.schema_backups;
    error_message text;
    error_detail  text;
    error_state   text;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    SELECT * INTO STRICT job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = record_removal.job_id;
    BEGIN
        SELECT * INTO STRICT backup FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.id = job.backup_id FOR NO KEY UPDATE;
        IF backup.method <> 'Archive' OR backup.state IN ('requested', 'running', 'complete') THEN
            PERFORM edu_matrix_hub_schema._refuse('internal',
                format('the removal of backup %s, which is a %s and %s, was not begun', backup.id, backup.method,
                       backup.state));
        END IF;
        UPDATE edu_matrix_hub_schema.archive_uploads AS u SET ended_at = clock_timestamp()
        WHERE u.backup_id = backup.id AND u.ended_at IS NULL;
        UPDATE edu_matrix_hub_schema.schema_backups AS b
        SET state = CASE b.state WHEN 'purging' THEN 'purged' ELSE b.state END,
            manifest = CASE b.state WHEN 'purging' THEN '{}' ELSE b.manifest END,
            purged_at = CASE b.state WHEN 'purging' THEN clock_timestamp() ELSE b.purged_at END,
            error = CASE b.state WHEN 'purging' THEN NULL ELSE b.error END,
            kept_by_store = kept OR b.kept_by_store, updated_at = clock_timestamp()
        WHERE b.id = backup.id;
        PERFORM edu_matrix_hub_schema._end_job(job.id, 'done');
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
    PERFORM edu_matrix_hub_schema._log(job.schema_id, 'purge', 'success', job.requested_by, started, attempt,
                                       jsonb_build_object('backup_id', backup.id, 'kept_by_store', kept));
    RETURN edu_matrix_hub_schema._result('success',
        CASE WHEN kept THEN format('backup %s is given up, and its store keeps the files', backup.id)
             ELSE format('backup %s is removed', backup.id) END,
        job.schema_id, jsonb_build_object('backup_id', backup.id, 'kept_by_store', kept));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.record_removal(bigint, uuid, uuid, jsonb) FROM PUBLIC;

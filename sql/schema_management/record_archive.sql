-- Records that an attempt at an archive is complete, and ends its job. Refused as `cancelled`, without a change, when
-- the attempt is not this job's any more: what it wrote is then the caller's to delete. Recorded before, it is
-- `unchanged`. Another error has ended the attempt.
--
-- options: {attempt, location, store, size_bytes, table_count, row_count, checksum, artefact_sha256, manifest_sha256,
-- manifest?, verified_by?, verified_how?, unproved?}: what begin_archive() was given, and what is now in the store.
-- `checksum` is over the tables' content, `size_bytes` of the file. `manifest` is kept with the row. `verified_by` is
-- the verification that proved it, `verified_how` says how, and `unproved` what was asked for and was not proved.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.record_archive(epoch bigint, installation_id uuid, job_id uuid,
                                                                options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    answer        jsonb := edu_matrix_hub_schema._hold_job(epoch, installation_id, job_id, 'archive', true);
    facts         CONSTANT jsonb := options - 'manifest' - 'requested_by';
    attempt       text := format('record the archive of job %s', job_id);
    job           edu_matrix_hub_schema.schema_jobs;
    backup        edu_matrix_hub_schema.schema_backups;
    upload        edu_matrix_hub_schema.archive_uploads;
    missing       text;
    error_message text;
    error_detail  text;
    error_state   text;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    SELECT * INTO STRICT job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = record_archive.job_id;
    SELECT * INTO upload FROM edu_matrix_hub_schema.archive_uploads AS u
    WHERE u.attempt::text = options ->> 'attempt' AND u.job_id = job.id AND u.job_attempt = job.attempt
      AND u.backup_id = job.backup_id AND u.ended_at IS NULL;
    IF upload.attempt IS NULL THEN
        -- A stale worker must not decide what becomes of the job.
        RETURN edu_matrix_hub_schema._result('error',
            format('job %s was taken over meanwhile, or its upload removed', job.id), job.schema_id,
            '{"reason": "cancelled"}');
    END IF;
    SELECT * INTO STRICT backup FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.id = job.backup_id;
    attempt := format('record the archive of schema "%s"', backup.schema_name);
    BEGIN
        SELECT string_agg(n.name, ', ') INTO missing
        FROM unnest(ARRAY['size_bytes', 'table_count', 'row_count', 'checksum', 'artefact_sha256', 'manifest_sha256'])
             AS n (name)
        WHERE options ->> n.name IS NULL;
        IF missing IS NOT NULL
           OR (upload.location, upload.store) IS DISTINCT FROM (options ->> 'location', options ->> 'store') THEN
            PERFORM edu_matrix_hub_schema._refuse('internal',
                coalesce('it is not said: ' || missing, 'location and store are not those with which it was begun'));
        END IF;
        PERFORM edu_matrix_hub_schema._record_backup(backup.id, options);
        UPDATE edu_matrix_hub_schema.archive_uploads AS u SET ended_at = clock_timestamp()
        WHERE u.attempt = upload.attempt;
        PERFORM edu_matrix_hub_schema._end_job(job.id, 'done');
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            error_state := SQLSTATE;
    END;
    IF error_state IS NOT NULL THEN
        RETURN edu_matrix_hub_schema._job_answer(job, edu_matrix_hub_schema._failure('backup', job.schema_id,
            job.requested_by, started, attempt, error_state, error_message, error_detail));
    END IF;
    PERFORM edu_matrix_hub_schema._log(job.schema_id, 'backup', 'success', job.requested_by, started, attempt,
                                       facts || jsonb_build_object('backup_id', backup.id));
    RETURN edu_matrix_hub_schema._result('success',
        format('archive of schema "%s" is "%s": %s tables, %s rows', backup.schema_name, upload.location,
               options ->> 'table_count', options ->> 'row_count'),
        job.schema_id, facts || jsonb_build_object('backup_id', backup.id));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.record_archive(bigint, uuid, uuid, jsonb) FROM PUBLIC;

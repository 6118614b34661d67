-- Ends an attempt at a job and says so in the catalogue. outcome: `done`, `failed`, or `retry` after some seconds, for which
-- `uncounted` gives the attempt back: a tenant that is busy is no failure. `no_space` gives it back too, and pauses for a
-- minute at least and a tenth of the time for which the job has been waiting, since it may be this very snapshot that fills the
-- disk. A snapshot that fails for good makes its catalogue row failed; a purge that fails leaves its row as it is, since what it
-- holds is still there.
--
-- Returns false, and changes nothing, when the job is not open any more. The sandbox goes with the attempt.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_job(job_id uuid, outcome text, error text DEFAULT NULL, uncounted boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    again CONSTANT boolean := outcome IN ('retry', 'no_space');
    job   edu_matrix_hub_schema.schema_jobs;
BEGIN
    SELECT * INTO job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = job_id AND j.state IN ('requested', 'running') FOR UPDATE;
    IF job.id IS NULL THEN
        RETURN false;
    END IF;
    UPDATE edu_matrix_hub_schema.schema_jobs AS j
    SET state = CASE WHEN again THEN 'requested' ELSE outcome END,
        attempt = j.attempt - CASE WHEN outcome = 'no_space' OR uncounted AND again THEN 1 ELSE 0 END,
        not_before = clock_timestamp() + CASE outcome
            WHEN 'retry' THEN least(j.attempt * j.attempt * interval '5 s', interval '60 s')
            WHEN 'no_space' THEN greatest(interval '1 min', (clock_timestamp() - j.requested_at) / 10)
            ELSE interval '0' END,
        finished_at = CASE WHEN NOT again THEN clock_timestamp() END,
        sandbox = NULL,
        error = _end_job.error
    WHERE j.id = job.id;
    UPDATE edu_matrix_hub_schema.schema_backups AS b
    SET state = CASE WHEN job.kind <> 'snapshot' THEN b.state WHEN outcome = 'failed' THEN 'failed' WHEN again THEN 'requested' ELSE b.state END,
        error = _end_job.error, updated_at = clock_timestamp()
    WHERE b.id = job.backup_id AND b.state IN ('requested', 'running', 'complete', 'purging');
    PERFORM edu_matrix_hub_schema._close_sandbox(job.sandbox);
    RETURN true;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_job(uuid, text, text, boolean) FROM PUBLIC;

-- Ends an attempt at a job and says so in the catalogue. outcome: `done`, `failed`, or one of three after which the
-- job waits for its next attempt. The pause doubles with each attempt in a row that failed, from five seconds:
--
--   retry     something may pass: a minute at most
--   stuck     a person has to do something, `reason` says what kind of thing: ten minutes at most
--   no_space  the disk is full: a minute at least, and a tenth of the time for which the job has been waiting, since it
--             may be this very snapshot that fills the disk
--
-- `attempt` counts only what a worker did not end, or ended without an answer of the server's (`counted`): five such
-- attempts probably take their session down. A snapshot or an archive that fails for good makes its catalogue row
-- failed, and what it left in a store is removed; a removal that fails leaves its row as it is, since what it holds is
-- still there.
--
-- Returns false, and changes nothing, when the job is not open any more. The sandbox goes with the attempt.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._end_job(uuid, text, text, boolean);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_job(
    job_id uuid, outcome text, error text DEFAULT NULL, counted boolean DEFAULT false, reason text DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    again CONSTANT boolean := outcome IN ('retry', 'stuck', 'no_space');
    job   edu_matrix_hub_schema.schema_jobs;
    makes boolean;
    pause interval;
BEGIN
    SELECT * INTO job FROM edu_matrix_hub_schema.schema_jobs AS j
    WHERE j.id = job_id AND j.state IN ('requested', 'running') FOR UPDATE;
    IF job.id IS NULL THEN
        RETURN false;
    END IF;
    makes := job.kind IN ('snapshot', 'archive');
    pause := CASE outcome
        WHEN 'no_space' THEN greatest(interval '1 min', (clock_timestamp() - job.requested_at) / 10)
        ELSE least(interval '5 s' * 2 ^ least(job.failures, 10),
                   CASE outcome WHEN 'stuck' THEN interval '10 min' ELSE interval '1 min' END) END;
    UPDATE edu_matrix_hub_schema.schema_jobs AS j
    SET state = CASE WHEN again THEN 'requested' ELSE outcome END,
        attempt = j.attempt - CASE WHEN again AND NOT counted THEN 1 ELSE 0 END,
        failures = j.failures + CASE WHEN again THEN 1 ELSE 0 END,
        not_before = clock_timestamp() + CASE WHEN again THEN pause ELSE interval '0' END,
        finished_at = CASE WHEN NOT again THEN clock_timestamp() END,
        sandbox = NULL,
        error = _end_job.error,
        reason = _end_job.reason
    WHERE j.id = job.id;
    -- What it means for the backup that it makes or removes. A backup that it only reads stays as it is.
    UPDATE edu_matrix_hub_schema.schema_backups AS b
    SET state = CASE WHEN NOT makes THEN b.state WHEN outcome = 'failed' THEN 'failed'
                     WHEN again THEN 'requested' ELSE b.state END,
        error = _end_job.error, updated_at = clock_timestamp()
    WHERE b.id = job.backup_id AND b.state IN ('requested', 'running', 'complete', 'purging')
      AND (makes OR job.kind IN ('purge', 'remove_archive') AND b.error IS DISTINCT FROM _end_job.error);
    IF job.kind = 'archive' AND outcome = 'failed' THEN
        PERFORM edu_matrix_hub_schema._queue_left_uploads(job.backup_id);
    END IF;
    PERFORM edu_matrix_hub_schema._close_sandbox(job.sandbox);
    RETURN true;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_job(uuid, text, text, boolean, text) FROM PUBLIC;

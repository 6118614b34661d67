-- Says that a job is alive, from another connection than the one that works on it. The answer is how a worker learns
-- that its job was cancelled (`cancelled`), or taken up by another worker or ended (`not_found`): it then cancels its
-- statement.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.heartbeat_job(epoch bigint, installation_id uuid, job_id uuid)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    refused jsonb;
    job     edu_matrix_hub_schema.schema_jobs;
BEGIN
    refused := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    IF refused IS NOT NULL THEN
        RETURN refused;
    END IF;
    UPDATE edu_matrix_hub_schema.schema_jobs AS j SET heartbeat_at = clock_timestamp()
    WHERE j.id = job_id AND j.state = 'running' AND j.epoch = heartbeat_job.epoch
    RETURNING * INTO job;
    IF job.id IS NOT NULL THEN
        RETURN edu_matrix_hub_schema._result('success', 'the job is known to be alive', job.schema_id,
                                             jsonb_build_object('attempt', job.attempt));
    END IF;
    SELECT * INTO job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = job_id;
    RETURN edu_matrix_hub_schema._result('error', format('job %s is %s', job_id, coalesce(job.state, 'not known')),
        job.schema_id,
        jsonb_build_object('reason', CASE WHEN job.state = 'cancelled' THEN 'cancelled' ELSE 'not_found' END));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.heartbeat_job(bigint, uuid, uuid) FROM PUBLIC;

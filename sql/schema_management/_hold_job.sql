-- Holds the lane and, until the transaction ends, a job of this kind that this process has claimed, so that no call
-- cancels it meanwhile: null when both are held, else the result that the caller has to return. What only records an
-- end says `records`; for it a job that is done is `unchanged`, so a client that lost the answer may ask again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._hold_job(epoch bigint, installation_id uuid, job_id uuid, kind text,
                                                           records boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    refused CONSTANT jsonb := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    job     edu_matrix_hub_schema.schema_jobs;
BEGIN
    IF refused IS NOT NULL THEN
        RETURN refused;
    END IF;
    SELECT * INTO job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = _hold_job.job_id FOR UPDATE;
    IF job.id IS NULL OR job.kind <> _hold_job.kind THEN
        RETURN edu_matrix_hub_schema._result('error',
            format('there is no job %s of kind "%s"', _hold_job.job_id, _hold_job.kind), job.schema_id,
            '{"reason": "not_found"}');
    ELSIF job.state = 'done' AND records THEN
        RETURN edu_matrix_hub_schema._result('unchanged', format('job %s is done', job.id), job.schema_id,
                                             jsonb_build_object('backup_id', job.backup_id));
    ELSIF job.state <> 'running' OR job.epoch IS DISTINCT FROM _hold_job.epoch THEN
        RETURN edu_matrix_hub_schema._result('error',
            format('cannot run job %s: it is %s and not claimed by this process; claim it first', job.id, job.state),
            job.schema_id,
            jsonb_build_object('reason', CASE WHEN job.state = 'cancelled' THEN 'cancelled' ELSE 'not_found' END));
    END IF;
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._hold_job(bigint, uuid, uuid, text, boolean) FROM PUBLIC;

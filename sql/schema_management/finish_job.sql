-- Ends a job whose end only the client saw: the connection broke, or the statement was cancelled from outside.
-- outcome: {status: "error", message, sqlstate?, retry?: bool, reason?}. What may pass (_may_pass) is tried again for a
-- day. Without an answer of the server's there is only what the client thinks of it, `retry`; such attempts are
-- counted, and the fifth fails the job. A job that works in an object store is mostly about something else than the
-- server, such as a store that is away: what the client thinks of it has a day as well, and `reason` says what kind of
-- thing a person has to do when it does not pass by itself.
--
-- A job that has ended meanwhile is `unchanged`, so a client that lost the answer of run_job may always call this.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.finish_job(
    epoch bigint, installation_id uuid, job_id uuid, outcome jsonb
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    started CONSTANT timestamptz := clock_timestamp();
    refused jsonb;
    job     edu_matrix_hub_schema.schema_jobs;
    state   CONSTANT text := outcome ->> 'sqlstate';
    counted boolean := coalesce(left(outcome ->> 'sqlstate', 2) = '08', true);
    in_store boolean;
    passes  boolean;
    removes boolean;
    again   boolean;
BEGIN
    refused := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    IF refused IS NOT NULL THEN
        RETURN refused;
    END IF;
    SELECT * INTO job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = job_id;
    IF job.id IS NULL THEN
        RETURN edu_matrix_hub_schema._result('error', format('cannot finish job %s: there is no such job', job_id),
                                             NULL, '{"reason": "not_found"}');
    ELSIF job.state <> 'running' OR job.epoch IS DISTINCT FROM finish_job.epoch THEN
        RETURN edu_matrix_hub_schema._result('unchanged', format('job %s is %s', job_id, job.state), job.schema_id,
                                             jsonb_build_object('state', job.state));
    END IF;
    removes := job.kind IN ('purge', 'remove_archive');
    in_store := job.kind IN ('archive', 'remove_archive');
    counted := counted AND NOT in_store;
    passes := CASE WHEN counted OR state IS NULL THEN coalesce((outcome ->> 'retry')::boolean, false)
                   ELSE edu_matrix_hub_schema._may_pass(state) END;
    again := removes
             OR passes AND CASE WHEN counted THEN job.attempt < 5
                                -- What waited for its store for days has had no try yet.
                                ELSE job.requested_at > clock_timestamp() - interval '1 day'
                                     OR in_store AND job.failures < 20 END;
    PERFORM edu_matrix_hub_schema._end_job(job.id,
        CASE WHEN NOT again THEN 'failed' WHEN state = '53100' THEN 'no_space'
             WHEN removes AND NOT counted AND NOT passes THEN 'stuck'
             ELSE 'retry' END,
        outcome ->> 'message', counted,
        CASE WHEN in_store AND NOT passes THEN coalesce(outcome ->> 'reason', 'internal') END);
    PERFORM edu_matrix_hub_schema._log(job.schema_id,
                                       CASE WHEN removes THEN 'purge' WHEN job.kind IN ('snapshot', 'archive')
                                            THEN 'backup' ELSE job.kind END,
                                       'error', job.requested_by, started,
                                       format('%s job %s, attempt %s', job.kind, job.id, job.attempt),
                                       jsonb_strip_nulls(jsonb_build_object('backup_id', job.backup_id,
                                                                            'retry', again)),
                                       outcome ->> 'message', outcome ->> 'sqlstate');
    RETURN edu_matrix_hub_schema._result('success',
        format('job %s %s', job.id, CASE WHEN again THEN 'will be tried again' ELSE 'failed' END), job.schema_id,
        jsonb_build_object('retry', again));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.finish_job(bigint, uuid, uuid, jsonb) FROM PUBLIC;

-- Does the work of a claimed job, or a bounded part of it: `partial` means commit and call again, `success` that it
-- is done and recorded. `busy` and errors that may pass (detail.retry) leave it waiting for its next attempt, as do
-- all errors of a removal; other errors fail it. What is not done in the database is not done here.
--
-- A snapshot is prepared in a first, short part. Its second part may take hours and holds neither the lane, so that a
-- new holder is not kept waiting, nor the job's row, so that heartbeats are not. In return its end is recorded only
-- if lane and attempt are still its own; otherwise everything is undone. A purge is a series of short parts, each
-- under the lane.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.run_job(epoch bigint, installation_id uuid, job_id uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    installed record;
    refused   jsonb;
    job       edu_matrix_hub_schema.schema_jobs;
BEGIN
    SELECT i.epoch, i.installation_id INTO installed FROM edu_matrix_hub_schema.installation AS i;
    SELECT * INTO job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = job_id;
    -- Holding the lane says precisely what is wrong; a snapshot's long part looks only, and holds it at its end.
    IF job.kind IS DISTINCT FROM 'snapshot' OR job.sandbox IS NULL
       OR (installed.epoch, installed.installation_id) IS DISTINCT FROM (epoch, installation_id) THEN
        refused := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
        IF refused IS NOT NULL THEN
            RETURN refused;
        END IF;
    END IF;
    IF job.id IS NULL THEN
        RETURN edu_matrix_hub_schema._result('error', format('cannot run job %s: there is no such job', job_id), NULL,
                                             '{"reason": "not_found"}');
    ELSIF job.state = 'done' THEN
        RETURN edu_matrix_hub_schema._result('unchanged', format('job %s is done', job.id), job.schema_id,
                                             jsonb_build_object('backup_id', job.backup_id));
    ELSIF job.state <> 'running' OR job.epoch IS DISTINCT FROM run_job.epoch THEN
        RETURN edu_matrix_hub_schema._result('error',
            format('cannot run job %s: it is %s and not claimed by this process; claim it first', job.id, job.state),
            job.schema_id,
            jsonb_build_object('reason', CASE WHEN job.state = 'cancelled' THEN 'cancelled' ELSE 'not_found' END));
    END IF;
    RETURN CASE job.kind
        WHEN 'purge' THEN
            edu_matrix_hub_schema._job_answer(job, edu_matrix_hub_schema._purge(job.backup_id, job.requested_by))
        WHEN 'snapshot' THEN
            edu_matrix_hub_schema._run_snapshot(epoch, installation_id, job)
        ELSE
            edu_matrix_hub_schema._result('error',
                format('cannot run job %s: what a job of kind "%s" does is not done by this function', job.id,
                       job.kind),
                job.schema_id, '{"reason": "internal"}')
        END;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.run_job(bigint, uuid, uuid) FROM PUBLIC;

-- Prepares a snapshot, or makes it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._run_snapshot(
    epoch bigint, installation_id uuid, job edu_matrix_hub_schema.schema_jobs
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    tenant        edu_matrix_hub_schema.tenant_schemas;
    name          text;
    attempt       text;
    refused       jsonb;
    facts         jsonb;
    answer        jsonb;
    error_message text;
    error_detail  text;
    error_state   text;
BEGIN
    SELECT b.schema_name INTO STRICT name FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.id = job.backup_id;
    attempt := format('take a snapshot of schema "%s"', name);
    BEGIN
        tenant := edu_matrix_hub_schema._lock_tenant(job.schema_id, 'structure', false);
        IF job.sandbox IS NULL THEN
            UPDATE edu_matrix_hub_schema.schema_jobs AS j
            SET sandbox = edu_matrix_hub_schema._open_sandbox(tenant.id), heartbeat_at = clock_timestamp()
            WHERE j.id = job.id;
            RETURN edu_matrix_hub_schema._result('partial', format('snapshot of schema "%s" prepared', name), tenant.id,
                                                 jsonb_build_object('backup_id', job.backup_id));
        END IF;
        facts := edu_matrix_hub_schema._make_snapshot(tenant.id, job.sandbox);
        refused := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
        IF refused IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._refuse(refused #>> '{detail,reason}', refused ->> 'message');
        END IF;
        PERFORM FROM edu_matrix_hub_schema.schema_jobs AS j
        WHERE j.id = job.id AND j.state = 'running' AND j.epoch = _run_snapshot.epoch AND j.attempt = job.attempt
        FOR UPDATE;
        IF NOT FOUND THEN
            PERFORM edu_matrix_hub_schema._refuse('cancelled', 'the job was cancelled or taken over meanwhile');
        END IF;
        PERFORM edu_matrix_hub_schema._record_backup(job.backup_id, facts);
        PERFORM edu_matrix_hub_schema._end_job(job.id, 'done');
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            error_state := SQLSTATE;
    END;
    IF error_state IS NOT NULL THEN
        answer := edu_matrix_hub_schema._failure('backup', job.schema_id, job.requested_by, started, attempt,
                                                 error_state, error_message, error_detail);
        -- A stale worker must not decide what becomes of the job.
        refused := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
        IF refused IS NOT NULL THEN
            RETURN refused;
        END IF;
        RETURN edu_matrix_hub_schema._job_answer(job, answer);
    END IF;
    PERFORM edu_matrix_hub_schema._log(job.schema_id, 'backup', 'success', job.requested_by, started, attempt,
                                       (facts - 'manifest') || jsonb_build_object('backup_id', job.backup_id));
    RETURN edu_matrix_hub_schema._result('success',
        format('snapshot of schema "%s" is schema "%s": %s tables, %s rows', name, facts ->> 'location',
               facts ->> 'table_count', facts ->> 'row_count')
        || edu_matrix_hub_schema._undescribed_text(facts -> 'left_out'),
        job.schema_id, (facts - 'manifest') || jsonb_build_object('backup_id', job.backup_id));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._run_snapshot(bigint, uuid, edu_matrix_hub_schema.schema_jobs) FROM PUBLIC;

-- Records what an attempt that did not simply succeed means for its job, unless the job is not this attempt's any
-- more.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._job_answer(job edu_matrix_hub_schema.schema_jobs, answer jsonb)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    state  text := answer #>> '{detail,sqlstate}';
    passes boolean;
    again  boolean;
BEGIN
    PERFORM FROM edu_matrix_hub_schema.schema_jobs AS j
    WHERE j.id = job.id AND j.state = 'running' AND j.attempt = job.attempt AND j.epoch = job.epoch
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN edu_matrix_hub_schema._result('error', format('job %s was cancelled or taken over meanwhile', job.id),
                                             job.schema_id, '{"reason": "cancelled"}');
    END IF;
    CASE answer ->> 'status'
        WHEN 'success', 'unchanged' THEN
            PERFORM edu_matrix_hub_schema._end_job(job.id, 'done');
        WHEN 'partial' THEN
            UPDATE edu_matrix_hub_schema.schema_jobs AS j
            SET heartbeat_at = clock_timestamp(), failures = 0, error = NULL, reason = NULL
            WHERE j.id = job.id;
        ELSE
            -- A tenant that is busy is no failure, however long it lasts. What else may pass, and what the tenant's own
            -- code says, has a day. A removal with something in its way goes on by itself when a user has removed that.
            passes := answer ->> 'status' = 'busy' OR answer #>> '{detail,reason}' = 'cancelled'
                      OR edu_matrix_hub_schema._may_pass(state);
            again := job.kind IN ('purge', 'remove_archive')
                     OR passes AND (answer ->> 'status' = 'busy' AND answer #> '{detail,tenant}' IS NULL
                                    OR job.requested_at > clock_timestamp() - interval '1 day');
            PERFORM edu_matrix_hub_schema._end_job(job.id,
                CASE WHEN NOT again THEN 'failed' WHEN NOT passes THEN 'stuck' WHEN state = '53100' THEN 'no_space'
                     ELSE 'retry' END,
                answer ->> 'message', false,
                CASE WHEN NOT passes THEN coalesce(answer #>> '{detail,reason}', 'internal') END);
            answer := jsonb_set(answer, '{detail,retry}', to_jsonb(again));
    END CASE;
    RETURN answer;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._job_answer(edu_matrix_hub_schema.schema_jobs, jsonb) FROM PUBLIC;

-- Gives the caller the next job to run, or answers `unchanged` when there is none that may run now, with the time
-- until one may (detail.due_in_ms): of the tenants that have no job running, the one whose turn was longest ago comes
-- first, with its oldest job, so that a tenant with hundreds of requests is no reason for others to wait. Jobs that
-- work on no tenant come before: a subject has one of a kind, so there are few. Left behind is a running job of an
-- older epoch, or one not heard of for 60 s; the worker that still works on it finds its attempt gone when it wants
-- to record the end, and all of it is undone.
--
-- Nothing is purged, and nothing of an archive removed, while two operators want the lane, nor while the database is
-- kept quiet; then what was asked for up to a moment goes that a person confirmed after that began. Of archives nothing
-- is removed either where the database is one that was restored and not bound again: the database that it came from may
-- have the same archives.
--
-- options: {holder, kinds?: [text...], max_running?}. An operator names the kinds that it knows, so that a job of a
-- newer release waits for that. `max_running` bounds each class of them by itself (see _job_kinds): a tenant's code can
-- make its snapshot last for hours, and no removal must wait for that. A job that was left behind five times is failed:
-- it probably takes its session down.
--
-- detail: {job_id, kind, subject: {kind, id}, schema_id, schema_name, backup_id, attempt, storage_bytes, wake}.
-- `wake` lists the Kubernetes objects, {kind, namespace, name, uid}, that its end concerns: the one that asked for
-- it, and the TenantSchema of the tenant that it works on.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.claim_job(epoch bigint, installation_id uuid, options jsonb)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    classes CONSTANT jsonb := edu_matrix_hub_schema._job_kinds();
    refused jsonb;
    job     edu_matrix_hub_schema.schema_jobs;
    kinds   text[];
    purges  record;
    tenant  edu_matrix_hub_schema.tenant_schemas;
    wake    jsonb;
BEGIN
    refused := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    IF refused IS NOT NULL THEN
        RETURN refused;
    END IF;
    -- Claims come one after the other: two at once could both find the same tenant idle or the same place free.
    PERFORM FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = 'claim_job' FOR UPDATE;
    SELECT coalesce(i.unsettled_until > clock_timestamp(), false)
           OR edu_matrix_hub_schema._contest() IS NOT NULL AS stop,
           edu_matrix_hub_schema._world_moved() AS moved,
           coalesce(i.quiet_until > clock_timestamp(), false) AS wait,
           CASE WHEN i.confirmed_until >= i.quiet_since THEN i.confirmed_until END AS confirmed
    INTO purges
    FROM edu_matrix_hub_schema.installation AS i;
    LOOP
        -- The kinds that are wanted and whose class has a place.
        kinds := ARRAY(
            SELECT k.kind
            FROM jsonb_each_text(classes) AS k (kind, class)
            WHERE (coalesce(jsonb_typeof(options -> 'kinds'), 'null') = 'null' OR options -> 'kinds' ? k.kind)
              AND ((options ->> 'max_running')::integer
                   > (SELECT count(*) FROM edu_matrix_hub_schema.schema_jobs AS j
                      WHERE j.state = 'running' AND j.epoch = claim_job.epoch
                        AND j.heartbeat_at >= clock_timestamp() - interval '60 s'
                        AND classes ->> j.kind = k.class)) IS NOT FALSE);
        SELECT * INTO job
        FROM edu_matrix_hub_schema.schema_jobs AS j
        WHERE j.state IN ('requested', 'running')
          AND j.kind = ANY (kinds)
          AND (j.kind NOT IN ('purge', 'remove_archive')
               OR (NOT purges.stop AND NOT (j.kind = 'remove_archive' AND purges.moved)
                   AND (NOT purges.wait OR j.requested_at <= purges.confirmed)))
          AND CASE j.state
              WHEN 'running' THEN
                  j.epoch IS DISTINCT FROM claim_job.epoch OR j.heartbeat_at < clock_timestamp() - interval '60 s'
              ELSE j.not_before <= clock_timestamp()
                   -- Looked up once, and not for each of the thousands of jobs that one tenant may have waiting.
                   AND (j.schema_id IS NULL
                        OR j.schema_id <> ALL (ARRAY(SELECT o.schema_id FROM edu_matrix_hub_schema.schema_jobs AS o
                                                     WHERE o.state = 'running' AND o.schema_id IS NOT NULL)))
              END
        ORDER BY (SELECT max(d.started_at) FROM edu_matrix_hub_schema.schema_jobs AS d
                  WHERE d.schema_id = j.schema_id) NULLS FIRST,
                 j.requested_at, j.id
        LIMIT 1
        FOR UPDATE SKIP LOCKED;
        IF job.id IS NULL THEN
            RETURN edu_matrix_hub_schema._result('unchanged', 'no job is to be run', NULL,
                jsonb_strip_nulls(jsonb_build_object('due_in_ms', (
                    SELECT (1000 * extract(epoch FROM min(j.not_before) - clock_timestamp()))::bigint
                    FROM edu_matrix_hub_schema.schema_jobs AS j
                    WHERE j.state = 'requested' AND j.not_before > clock_timestamp()))));
        END IF;
        EXIT WHEN job.attempt < 5;
        PERFORM edu_matrix_hub_schema._end_job(job.id, 'failed', 'it was tried 5 times and never came to an end');
        job := NULL;
    END LOOP;

    UPDATE edu_matrix_hub_schema.schema_jobs AS j
    SET state = 'running', attempt = j.attempt + 1, epoch = claim_job.epoch, holder = options ->> 'holder',
        heartbeat_at = clock_timestamp(), started_at = clock_timestamp(),
        -- What an earlier attempt prepared may still be in use by it; the survey removes it.
        sandbox = CASE WHEN j.state = 'requested' THEN j.sandbox END
    WHERE j.id = job.id;
    UPDATE edu_matrix_hub_schema.schema_backups AS b
    SET state = 'running', started_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE b.id = job.backup_id AND b.state = 'requested' AND job.kind IN ('snapshot', 'archive');
    SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = job.schema_id;
    -- The one that asked may be the tenant's own.
    wake := (
        SELECT coalesce(jsonb_agg(to_jsonb(w)), '[]')
        FROM (SELECT job.object_kind, job.object_namespace, job.object_name, job.object_uid
              UNION
              SELECT 'TenantSchema', tenant.owner_namespace, tenant.owner_name, tenant.owner_uid)
             AS w (kind, namespace, name, uid)
        WHERE w.kind IS NOT NULL AND w.uid IS NOT NULL);
    RETURN edu_matrix_hub_schema._result('success',
        format('%s job %s claimed, attempt %s', job.kind, job.id, job.attempt + 1), job.schema_id,
        jsonb_build_object(
            'job_id', job.id, 'kind', job.kind,
            'subject', jsonb_build_object('kind', coalesce(job.subject_kind, 'backup'),
                                          'id', coalesce(job.subject_id, job.backup_id)),
            'schema_id', job.schema_id,
            'schema_name', coalesce((SELECT b.schema_name FROM edu_matrix_hub_schema.schema_backups AS b
                                     WHERE b.id = job.backup_id), tenant.schema_name),
            'backup_id', job.backup_id, 'attempt', job.attempt + 1, 'storage_bytes', tenant.storage_used,
            'wake', wake));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.claim_job(bigint, uuid, jsonb) FROM PUBLIC;

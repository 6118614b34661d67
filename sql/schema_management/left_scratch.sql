-- Says which databases that archives were restored in are to be removed, with the statement for each, which cannot be
-- run in a function: those of no job that is running, and the one of the job that is named. Those that are gone by now
-- are forgotten; so it is called once more after the statements. Only what has the name, which is a random one, and the
-- number, is removed.
--
-- options: {job_id?}. detail: {left: [{name, drop}...]}, twenty at most.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.left_scratch(epoch bigint, installation_id uuid, options jsonb)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    refused CONSTANT jsonb := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    own     CONSTANT uuid := (options ->> 'job_id')::uuid;
    remains jsonb;
BEGIN
    IF refused IS NOT NULL THEN
        RETURN refused;
    END IF;
    WITH ended AS (
        SELECT s.name AS noted, d.datname AS present,
               s.database_oid IS NOT NULL OR s.begun_at < clock_timestamp() - interval '10 min' AS was_made
        FROM edu_matrix_hub_schema.scratch_databases AS s
        LEFT JOIN pg_database AS d
          -- In a registry that was restored on another server the number is another database's. It is not noted when
          -- the operator ended just then. One that belongs to another login by now cannot be removed, and is told.
          ON d.datname = s.name AND d.oid = coalesce(s.database_oid, d.oid)
        WHERE s.job_id = own
           OR NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j
                          WHERE j.id = s.job_id AND j.state = 'running' AND j.epoch = left_scratch.epoch)
        -- What cannot be removed must not hide what can.
        ORDER BY (s.job_id = own) IS TRUE DESC, s.begun_at DESC LIMIT 20
    ), gone AS (
        DELETE FROM edu_matrix_hub_schema.scratch_databases AS s USING ended AS e
        -- One that is just being made for a client that is gone is not seen before it stands.
        WHERE s.name = e.noted AND e.present IS NULL AND e.was_made
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('name', e.present, 'drop',
                                                 format('DROP DATABASE IF EXISTS %I WITH (FORCE)', e.present))), '[]')
    INTO remains
    FROM ended AS e WHERE e.present IS NOT NULL;
    RETURN edu_matrix_hub_schema._result('success', format('%s databases are left', jsonb_array_length(remains)), NULL,
                                         jsonb_build_object('left', remains));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.left_scratch(bigint, uuid, jsonb) FROM PUBLIC;

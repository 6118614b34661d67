-- Says that the holder of the lane is alive, or that it leaves in order, so that the next holder need not wait. The
-- answer tells the holder the state of the world: how far `beats` has counted, when the server started, the server's
-- clock in seconds since 1970, and who else wants the lane. Besides it ends sessions that tenants which are suspended
-- or set aside should not have any more, those that came in while writes were taken, and those of logins that were
-- closed before they came in, and closes the logins that released tenants had before, when their grace is over.
--
-- options: {leaving?: bool}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.heartbeat_lane(epoch bigint, installation_id uuid,
                                                                options jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    refused jsonb;
    leaves  CONSTANT boolean := coalesce((options ->> 'leaving')::boolean, false);
BEGIN
    refused := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    IF refused IS NOT NULL THEN
        RETURN refused;
    END IF;
    IF NOT leaves THEN
        PERFORM edu_matrix_hub_schema._end_suspended_sessions();
        PERFORM edu_matrix_hub_schema._end_late_sessions();
        PERFORM edu_matrix_hub_schema._end_parked_sessions();
        PERFORM edu_matrix_hub_schema._end_late_writers();
        PERFORM edu_matrix_hub_schema._end_released_graces();
    END IF;
    UPDATE edu_matrix_hub_schema.installation AS i
    SET beats = i.beats + 1, heartbeat_at = CASE WHEN NOT leaves THEN clock_timestamp() END;
    RETURN edu_matrix_hub_schema._result('success', CASE WHEN leaves THEN 'the holder has left'
                                                         ELSE 'the holder is known to be alive' END, NULL,
                                         edu_matrix_hub_schema._state_of_world());
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.heartbeat_lane(bigint, uuid, jsonb) FROM PUBLIC;

-- What every answer to the holder tells of the world.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._state_of_world() RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT jsonb_build_object(
        'beats', i.beats, 'start', edu_matrix_hub_schema._server_start(),
        'clock', extract(epoch FROM clock_timestamp()), 'contest', edu_matrix_hub_schema._contest(),
        'quiet', CASE WHEN i.quiet_until > clock_timestamp() THEN
                          jsonb_build_object('until', i.quiet_until, 'reason', i.quiet_reason) END)
    FROM edu_matrix_hub_schema.installation AS i
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._state_of_world() FROM PUBLIC;

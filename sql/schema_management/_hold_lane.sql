-- Holds the lane until the transaction ends: every changing call of an operator begins with it. A shared lock on a
-- table of ours keeps claim_lane() waiting until this transaction has ended, so that no call of a former holder is
-- under way when a new one starts. Returns null when the lane is held, else the result that the caller has to return:
-- `stale_epoch` when another process has claimed the lane since, `wrong_installation` when this is not the database
-- that the operator knows.
--
-- The setting `edu_matrix.world` of the transaction is what the operator heard last: when the server started, and how
-- far `beats` had counted. If it has counted less, the database is an older state of itself and the call is refused
-- (`went_back`): what the operator remembers is not true here. Another start of the server says nothing by itself, but
-- it may be another server, so the operator has to claim the lane again and look first (`server_restarted`). A former
-- release sends no such setting.
--
-- What the caller then does is durable when it has answered, also where the server's default is not to wait for that:
-- an operator that was told of a tenant remembers it, and a crash must not take the tenant back.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._hold_lane(epoch bigint, installation_id uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    installed record;
    heard     CONSTANT text := nullif(current_setting('edu_matrix.world', true), '');
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF edu_matrix_hub_schema._isolation_problem() IS NOT NULL THEN
        RETURN edu_matrix_hub_schema._result('error',
            'cannot hold the lane: ' || edu_matrix_hub_schema._isolation_problem(), NULL, '{"reason": "isolation"}');
    END IF;
    PERFORM edu_matrix_hub_schema._need_all_rows();
    LOCK TABLE edu_matrix_hub_schema.lane_lock IN ROW SHARE MODE;
    -- Read after the lock and not before: a claim may just have committed.
    SELECT i.epoch, i.installation_id, i.holder, i.beats INTO installed FROM edu_matrix_hub_schema.installation AS i;
    IF _hold_lane.installation_id IS DISTINCT FROM installed.installation_id THEN
        RETURN edu_matrix_hub_schema._result('error',
            format('cannot act on installation %s: this database holds installation %s; '
                   'check the connection, it may lead to another database',
                   coalesce(_hold_lane.installation_id::text, '(none)'), installed.installation_id),
            NULL, jsonb_build_object('reason', 'wrong_installation', 'installation_id', installed.installation_id));
    END IF;
    IF heard IS NOT NULL AND (_hold_lane.epoch > installed.epoch
                              OR split_part(heard, '/', 2)::bigint > installed.beats) THEN
        RETURN edu_matrix_hub_schema._result('error',
            format('cannot act in epoch %s: the database went back to an older state of itself, '
                   'in which the epoch is %s', _hold_lane.epoch, installed.epoch),
            NULL, jsonb_build_object('reason', 'went_back', 'epoch', installed.epoch));
    END IF;
    IF _hold_lane.epoch IS DISTINCT FROM installed.epoch THEN
        RETURN edu_matrix_hub_schema._result('error',
            format('cannot act in epoch %s: the lane is held in epoch %s by %s; claim it again',
                   coalesce(_hold_lane.epoch::text, '(none)'), installed.epoch,
                   coalesce(installed.holder, 'no operator')),
            NULL, jsonb_build_object('reason', 'stale_epoch', 'epoch', installed.epoch));
    END IF;
    IF split_part(heard, '/', 1)::bigint <> edu_matrix_hub_schema._server_start() THEN
        RETURN edu_matrix_hub_schema._result('error',
            'the server was started again, or is another one; claim the lane again',
            NULL, jsonb_build_object('reason', 'server_restarted'));
    END IF;
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._hold_lane(bigint, uuid) FROM PUBLIC;

-- When the server started, in microseconds since 1970. After a failover it is another server, with another start.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._server_start() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT (1000000 * extract(epoch FROM pg_postmaster_start_time()))::bigint
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._server_start() FROM PUBLIC;

-- The timeline of the write-ahead log: a server that was promoted, or restored to a point in time, has another one.
-- Null where the service does not let it be asked.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._timeline() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint;
EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_function
               OR object_not_in_prerequisite_state THEN
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._timeline() FROM PUBLIC;

-- Which database of which server this is: a copy, or what was restored from a dump, is in another place.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._place() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    RETURN (SELECT concat_ws('/', edu_matrix_hub_schema._system_identifier(), d.oid) FROM pg_database AS d
            WHERE d.datname = current_database());
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._place() FROM PUBLIC;

-- Holds the lane until the transaction ends: every changing call of an operator begins with it. A shared lock on a table
-- of ours keeps claim_lane() waiting until this transaction has ended, so that no call of a former holder is under way when a new one
-- starts. Returns null when the lane is held, else the result that the caller has to return: `stale_epoch` when another
-- process has claimed the lane since, `wrong_installation` when this is not the database that the operator knows.
--
-- What the caller then does is durable when it has answered, also where the server's default is not to wait for that: an
-- operator that was told of a tenant remembers it, and a crash must not take the tenant back.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._hold_lane(epoch bigint, installation_id uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    installed record;
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF edu_matrix_hub_schema._isolation_problem() IS NOT NULL THEN
        RETURN edu_matrix_hub_schema._result('error', 'cannot hold the lane: ' || edu_matrix_hub_schema._isolation_problem(), NULL, '{"reason": "isolation"}');
    END IF;
    LOCK TABLE edu_matrix_hub_schema.lane_lock IN ROW SHARE MODE;
    -- Read after the lock and not before: a claim may just have committed.
    SELECT i.epoch, i.installation_id, i.holder INTO installed FROM edu_matrix_hub_schema.installation AS i;
    IF _hold_lane.installation_id IS DISTINCT FROM installed.installation_id THEN
        RETURN edu_matrix_hub_schema._result('error',
            format('cannot act on installation %s: this database holds installation %s; check the connection, it may lead to another database',
                   coalesce(_hold_lane.installation_id::text, '(none)'), installed.installation_id),
            NULL, jsonb_build_object('reason', 'wrong_installation', 'installation_id', installed.installation_id));
    END IF;
    IF _hold_lane.epoch IS DISTINCT FROM installed.epoch THEN
        RETURN edu_matrix_hub_schema._result('error',
            format('cannot act in epoch %s: the lane is held in epoch %s by %s; claim it again',
                   coalesce(_hold_lane.epoch::text, '(none)'), installed.epoch, coalesce(installed.holder, 'nobody')),
            NULL, jsonb_build_object('reason', 'stale_epoch', 'epoch', installed.epoch));
    END IF;
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._hold_lane(bigint, uuid) FROM PUBLIC;

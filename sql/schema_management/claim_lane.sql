-- Makes the caller the one operator process that may change things here: increments the epoch, by which every call of the
-- former holder is refused from now on. Waits until the calls that are under way have ended.
--
-- options: {cluster, tenant_database, holder, expected_installation_id}. The first claim pins cluster and tenant_database;
-- a claim under another identity is refused as `managed_elsewhere`, one that expects another installation as
-- `wrong_installation`, and neither changes anything.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.claim_lane(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    attempt       CONSTANT text := 'claim the lane of database "' || current_database() || '"';
    requester     CONSTANT text := coalesce(options ->> 'holder', session_user::text);
    installed     record;
    error_message text;
    error_detail  text;
BEGIN
    BEGIN
        IF coalesce(options ->> 'cluster', '') = '' OR coalesce(options ->> 'tenant_database', '') = '' THEN
            PERFORM edu_matrix_hub_schema._refuse('internal', 'cluster and tenant_database are needed');
        END IF;
        LOCK TABLE edu_matrix_hub_schema.lane_lock IN EXCLUSIVE MODE;
        SELECT i.installation_id, i.cluster, i.tenant_database, i.epoch INTO installed
        FROM edu_matrix_hub_schema.installation AS i;
        IF (options ->> 'expected_installation_id')::uuid <> installed.installation_id THEN
            PERFORM edu_matrix_hub_schema._refuse('wrong_installation',
                format('this database holds installation %s and not %s; check the connection, it may lead to another database',
                       installed.installation_id, options ->> 'expected_installation_id'),
                jsonb_build_object('installation_id', installed.installation_id));
        END IF;
        IF (installed.cluster, installed.tenant_database) IS DISTINCT FROM (options ->> 'cluster', options ->> 'tenant_database')
           AND installed.cluster IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('managed_elsewhere',
                format('it is managed by TenantDatabase "%s" of cluster %s', installed.tenant_database, installed.cluster),
                jsonb_build_object('installation_id', installed.installation_id,
                                   'managed_by', jsonb_build_object('cluster', installed.cluster, 'tenant_database', installed.tenant_database)));
        END IF;
        UPDATE edu_matrix_hub_schema.installation AS i
        SET epoch = i.epoch + 1, cluster = options ->> 'cluster', tenant_database = options ->> 'tenant_database',
            holder = options ->> 'holder', claimed_at = now(), updated_at = now();
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('claim_lane', NULL, requester, started, attempt, SQLSTATE, error_message, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(NULL, 'claim_lane', 'success', requester, started, attempt,
                                       jsonb_build_object('epoch', installed.epoch + 1));
    RETURN edu_matrix_hub_schema._result('success', format('lane claimed in epoch %s', installed.epoch + 1), NULL,
        jsonb_build_object('installation_id', installed.installation_id, 'epoch', installed.epoch + 1,
                           'managed_by', jsonb_build_object('cluster', options ->> 'cluster',
                                                            'tenant_database', options ->> 'tenant_database')));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.claim_lane(jsonb) FROM PUBLIC;

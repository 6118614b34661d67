-- Makes the caller the one operator process that may change things here: increments the epoch, by which every call of the
-- former holder is refused from now on. Waits until the calls that are under way have ended.
--
-- options: {cluster, tenant_database, holder, expected_installation_id, take_over?}. The first claim pins cluster and
-- tenant_database; a claim under another identity is refused as `managed_elsewhere`, one that expects another installation as
-- `wrong_installation`, and neither changes anything.
--
-- A claim whose `take_over` names the pinned cluster is not refused but pins its own identity. What the registry knows of
-- objects of that cluster becomes known of this one, and its tenants are marked `taken_over` until their TenantSchemas, made
-- anew here, reclaim them. It is refused while another database of the server has a registry or schemas of the same
-- installation: their roles are the same.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.claim_lane(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    attempt       CONSTANT text := 'claim the lane of database "' || current_database() || '"';
    requester     CONSTANT text := coalesce(options ->> 'holder', session_user::text);
    here          CONSTANT text := options ->> 'cluster';
    former        CONSTANT text := nullif(options ->> 'take_over', here);
    installed     record;
    moved         jsonb;
    error_message text;
    error_detail  text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        IF coalesce(here, '') = '' OR coalesce(options ->> 'tenant_database', '') = '' THEN
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
        IF (installed.cluster, installed.tenant_database) <> (here, options ->> 'tenant_database')
           AND installed.cluster IS DISTINCT FROM options ->> 'take_over' THEN
            PERFORM edu_matrix_hub_schema._refuse('managed_elsewhere',
                format('it is managed by TenantDatabase "%s" of cluster %s', installed.tenant_database, installed.cluster),
                jsonb_build_object('installation_id', installed.installation_id, 'managed_by', jsonb_build_object(
                    'cluster', installed.cluster, 'tenant_database', installed.tenant_database,
                    'tenant_count', (SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas AS t
                                     WHERE t.owner_cluster = installed.cluster AND t.status <> 'dropped'))));
        END IF;
        IF (installed.cluster, installed.tenant_database) <> (here, options ->> 'tenant_database') THEN
            PERFORM edu_matrix_hub_schema._refuse_copy();
        END IF;
        IF former IS NOT NULL THEN
            WITH tenants AS (
                UPDATE edu_matrix_hub_schema.tenant_schemas AS t
                SET owner_cluster = here, owner_namespace_uid = NULL, taken_over = t.status <> 'dropped', reported = NULL, updated_at = now()
                WHERE t.owner_cluster = former
                RETURNING t.taken_over
            ), backups AS (
                UPDATE edu_matrix_hub_schema.schema_backups AS b SET object_cluster = here, object_namespace_uid = NULL WHERE b.object_cluster = former
                RETURNING b.id
            )
            SELECT jsonb_build_object('cluster', former, 'tenants', count(*) FILTER (WHERE t.taken_over),
                                      'dropped', count(*) FILTER (WHERE NOT t.taken_over), 'backups', (SELECT count(*) FROM backups))
            INTO moved
            FROM tenants AS t;
        END IF;
        UPDATE edu_matrix_hub_schema.installation AS i
        SET epoch = i.epoch + 1, cluster = here, tenant_database = options ->> 'tenant_database',
            holder = options ->> 'holder', claimed_at = now(), updated_at = now();
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('claim_lane', NULL, requester, started, attempt, SQLSTATE, error_message, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(NULL, 'claim_lane', 'success', requester, started, attempt,
                                       jsonb_build_object('epoch', installed.epoch + 1));
    IF (installed.cluster, installed.tenant_database) <> (here, options ->> 'tenant_database') OR jsonb_path_exists(moved, '$.* ? (@ > 0)') THEN
        PERFORM edu_matrix_hub_schema._log(NULL, 'take_over', 'success', requester, started, 'take over database "' || current_database() || '"',
            jsonb_build_object('managed_by', jsonb_build_object('cluster', installed.cluster, 'tenant_database', installed.tenant_database),
                               'taken_over', moved));
    END IF;
    RETURN edu_matrix_hub_schema._result('success', format('lane claimed in epoch %s', installed.epoch + 1), NULL,
        jsonb_build_object('installation_id', installed.installation_id, 'epoch', installed.epoch + 1,
                           'managed_by', jsonb_build_object('cluster', here,
                                                            'tenant_database', options ->> 'tenant_database')));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.claim_lane(jsonb) FROM PUBLIC;

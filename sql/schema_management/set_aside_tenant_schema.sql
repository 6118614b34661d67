-- Drops a tenant by setting it aside, for its TenantSchema: closes access, renames the schema, marks the
-- tenant dropped; with `purge` the removal of what was set aside is queued in the same transaction, so that
-- Drop and BackupThenDrop differ in nothing but that job. Done before, it is `unchanged` (and the job is
-- queued if it is wanted only now).
--
-- options: {schema_id, owner_uid, expire_after_days?, purge?, brake?: {since, limit}, deleted_at?, requested_by?}.
-- `deleted_at` is the deletion timestamp of the TenantSchema, by which the brake counts. It refuses when the tenant
-- belongs to another TenantSchema (`not_owner`), while another operator asks for the lane (`lane_contested`), when too
-- many were dropped since a time (`deletion_brake`) and when something outside depends on the schema (`dependents`,
-- with the list); while a job runs on the tenant it is `busy`.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.set_aside_tenant_schema(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    requester    CONSTANT text := coalesce(options ->> 'requested_by', session_user::text);
    tenant_id    CONSTANT uuid := (options ->> 'schema_id')::uuid;
    with_purge   CONSTANT boolean := coalesce((options ->> 'purge')::boolean, false);
    by_hand      CONSTANT boolean := options -> 'owner_uid' IS NULL;
    attempt      text := format('drop tenant %s', coalesce(options ->> 'schema_id', '(none)'));
    tenant       edu_matrix_hub_schema.tenant_schemas;
    backup       edu_matrix_hub_schema.schema_backups;
    facts        jsonb;
    queued       uuid;
    strangers    integer;
    remaining    integer;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        IF NOT edu_matrix_hub_schema._tenant_lock(tenant_id, 'structure', true)
           OR NOT edu_matrix_hub_schema._tenant_lock(tenant_id, 'access', true) THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', 'another call or a job is at work on this tenant',
                jsonb_build_object('blocker', edu_matrix_hub_schema._at_work(tenant_id)));
        END IF;
        SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant_id FOR NO KEY UPDATE;
        IF tenant.id IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', 'there is no such tenant');
        END IF;
        attempt := format(CASE WHEN with_purge THEN 'drop schema "%s"' ELSE 'set aside schema "%s"' END,
                          tenant.schema_name);
        IF by_hand AND tenant.owner_uid IS NOT NULL AND tenant.status NOT IN ('released', 'dropped') THEN
            PERFORM edu_matrix_hub_schema._refuse('owned_by_tenant_schema',
                format('it belongs to TenantSchema %s/%s; delete that instead, '
                       'or let go of it with deletionPolicy: Retain', tenant.owner_namespace, tenant.owner_name),
                jsonb_build_object('holder', edu_matrix_hub_schema._claim(tenant)));
        ELSIF NOT by_hand AND tenant.owner_uid IS DISTINCT FROM options ->> 'owner_uid' THEN
            PERFORM edu_matrix_hub_schema._refuse('not_owner', 'it belongs to another TenantSchema now, or to none',
                                                  jsonb_build_object('holder', edu_matrix_hub_schema._claim(tenant)));
        END IF;
        IF tenant.status = 'dropped' THEN
            SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b
            WHERE b.schema_id = tenant.id AND b.method = 'SetAside' AND b.state <> 'restored'
            ORDER BY b.completed_at DESC LIMIT 1;
            IF with_purge AND backup.id IS NOT NULL THEN
                queued := edu_matrix_hub_schema._queue_purge(backup.id, requester);
            END IF;
        ELSE
            IF NOT by_hand THEN
                PERFORM edu_matrix_hub_schema._be_alone();
            END IF;
            PERFORM edu_matrix_hub_schema._deletion_brake(options -> 'brake', tenant.id, tenant.owner_namespace, false);
            -- Rights of more strangers than one call can take back are drift; so they are no part of what is set aside,
            -- and go before it in calls of their own.
            IF (SELECT count(*) FROM pg_namespace AS n CROSS JOIN aclexplode(n.nspacl) AS a
                WHERE n.nspname = tenant.schema_name AND n.nspowner = (SELECT r.oid FROM pg_roles AS r
                                                                       WHERE r.rolname = tenant.owner_role)) > 1000 THEN
                PERFORM edu_matrix_hub_schema._close_tenant_logins(tenant.id);
                strangers := edu_matrix_hub_schema._take_schema_grants(tenant, true);
                IF strangers > 0 THEN
                    RETURN edu_matrix_hub_schema._result('busy',
                        format('schema "%s" is not set aside yet: %s other roles still have rights on it, which are '
                               'taken away in turns; call again', tenant.schema_name, strangers), tenant.id);
                END IF;
            END IF;
            remaining := (SELECT edu_matrix_hub_schema._dependents_in_turns(tenant, n.oid, requester)
                          FROM pg_namespace AS n
                          WHERE n.oid = tenant.schema_oid AND n.nspname = tenant.schema_name);
            IF remaining > 0 THEN
                RETURN edu_matrix_hub_schema._result('busy',
                    format('schema "%s" is not set aside yet: %s views and functions of those that have a grant of it '
                           'are still there, which are removed in turns; call again', tenant.schema_name, remaining),
                    tenant.id);
            END IF;
            facts := edu_matrix_hub_schema._set_aside(tenant, (options ->> 'expire_after_days')::integer, requester);
            UPDATE edu_matrix_hub_schema.tenant_schemas AS t
            SET deletion_requested_at = (options ->> 'deleted_at')::timestamptz WHERE t.id = tenant.id;
            PERFORM edu_matrix_hub_schema._deletion_brake(options -> 'brake', tenant.id, tenant.owner_namespace, true);
            IF with_purge AND facts ->> 'backup_id' IS NOT NULL THEN
                queued := edu_matrix_hub_schema._queue_purge((facts ->> 'backup_id')::uuid, requester);
            END IF;
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('set_aside', tenant.id, requester, started, attempt,
                                                  SQLSTATE, SQLERRM, error_detail);
    END;
    IF facts IS NULL AND queued IS NULL THEN
        RETURN edu_matrix_hub_schema._result('unchanged',
            format('schema "%s" was dropped before', tenant.schema_name), tenant.id,
            jsonb_build_object('backup_id', backup.id, 'location', backup.location));
    END IF;
    facts := coalesce(facts, jsonb_build_object('backup_id', backup.id, 'location', backup.location))
             || jsonb_build_object('purge_job', queued);
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'set_aside', 'success', requester, started, attempt, facts);
    RETURN edu_matrix_hub_schema._result('success',
        CASE WHEN facts ->> 'schema_missing' IS NOT NULL
             THEN format('schema "%s" was missing, the tenant has ended', tenant.schema_name)
             ELSE format('schema "%s" is set aside as "%s"', tenant.schema_name, facts ->> 'location') END
        || CASE WHEN queued IS NOT NULL THEN ', its removal is queued' ELSE '' END
        || CASE WHEN jsonb_array_length(facts -> 'dependents') > 0
                THEN '; views and functions of those that have a grant of it were removed, and are made again when it '
                     'comes back: ' || edu_matrix_hub_schema._first_names((
                         SELECT jsonb_agg(d.value -> 'name')
                         FROM jsonb_array_elements(facts -> 'dependents') AS d (value))) ELSE '' END
        || coalesce(edu_matrix_hub_schema._shared_text(facts -> 'shared_with'), '')
        || coalesce(edu_matrix_hub_schema._acting_text(facts -> 'acting'), '')
        || coalesce('; what it refers to cannot be dropped before it is, since these were left: '
                    || (SELECT string_agg(format('%s %s (%s)', r.value ->> 'kind', r.value ->> 'name',
                                                 r.value ->> 'note'), ', ' ORDER BY r.n)
                        FROM jsonb_array_elements(facts -> 'references_left') WITH ORDINALITY AS r (value, n)
                        WHERE r.n <= 5)
                    || CASE WHEN jsonb_array_length(facts -> 'references_left') > 5 THEN ' and more' ELSE '' END, ''),
        tenant.id, facts);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.set_aside_tenant_schema(jsonb) FROM PUBLIC;

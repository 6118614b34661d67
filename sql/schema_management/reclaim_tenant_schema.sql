-- Gives a tenant back to its TenantSchema after that was made again or its cluster was taken over: one of the same
-- cluster, namespace and name. It is active or suspended again, and nothing in the database but its row changes;
-- whether its schema stands is for the next look to say. Done before, it is `unchanged`.
--
-- options: {schema_id, owner: {cluster, namespace, name, uid, namespace_uid?}, transfer?: {namespace, name},
-- requested_by?}. A tenant of another TenantSchema, or of none, is refused with `not_owner`; the tenant of the one that
-- is named as `transfer` is given to the owner. Unless it is known that the namespace is the same, what its
-- applications logged in with ends in the same step.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.reclaim_tenant_schema(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('reclaim tenant %s', coalesce(options ->> 'schema_id', '(none)'));
    tenant       edu_matrix_hub_schema.tenant_schemas;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant((options ->> 'schema_id')::uuid, 'access', true);
        attempt := format('reclaim schema "%s"', tenant.schema_name);
        IF tenant.owner_uid IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_owner', 'it was made by hand and is of no TenantSchema',
                                                  jsonb_build_object('holder', edu_matrix_hub_schema._claim(tenant)));
        END IF;
        PERFORM edu_matrix_hub_schema._check_owner(
            edu_matrix_hub_schema._given(tenant, options -> 'owner', options -> 'transfer'), options -> 'owner');
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t
        SET owner_namespace = options #>> '{owner,namespace}', owner_name = options #>> '{owner,name}',
            owner_uid = options #>> '{owner,uid}',
            owner_namespace_uid = coalesce(options #>> '{owner,namespace_uid}', t.owner_namespace_uid),
            status = CASE t.access WHEN 'Suspended' THEN 'suspended' ELSE 'active' END,
            taken_over = false, reported = NULL, updated_at = now()
        WHERE t.id = tenant.id AND (t.owner_uid <> options #>> '{owner,uid}' OR t.status = 'released' OR t.taken_over);
        IF FOUND THEN
            PERFORM edu_matrix_hub_schema._move_backups(tenant, options -> 'owner');
            IF edu_matrix_hub_schema._leaves_namespace(tenant, options -> 'owner') THEN
                PERFORM edu_matrix_hub_schema._withdraw(tenant);
            END IF;
        ELSE
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('schema "%s" belongs to this TenantSchema', tenant.schema_name), tenant.id);
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('reclaim_tenant_schema', tenant.id, options ->> 'requested_by',
                                                  started, attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'reclaim_tenant_schema', 'success',
        options ->> 'requested_by', started, attempt,
        jsonb_build_object('owner', options -> 'owner', 'former', edu_matrix_hub_schema._claim(tenant)));
    RETURN edu_matrix_hub_schema._result('success', format('schema "%s" is reclaimed', tenant.schema_name), tenant.id);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.reclaim_tenant_schema(jsonb) FROM PUBLIC;

-- Whether a tenant that is given to an owner may come to another namespace, whose applications have nothing to do with
-- what the former one's logged in with. Namespaces of one name may be two, one after the other.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._leaves_namespace(former edu_matrix_hub_schema.tenant_schemas,
                                                                   owner jsonb) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT (former.owner_namespace, former.owner_namespace_uid)
           IS DISTINCT FROM (owner ->> 'namespace', owner ->> 'namespace_uid')
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._leaves_namespace(edu_matrix_hub_schema.tenant_schemas, jsonb)
    FROM PUBLIC;

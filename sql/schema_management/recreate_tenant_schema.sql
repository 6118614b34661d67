-- Makes a tenant's schema again, empty, after a user removed it; the tenant keeps its id, and its roles are made again
-- where they are missing. options: {schema_id, recreations?, requested_by?}. Never called without a person having asked
-- for it: what was in the schema is gone, or in a backup. `recreations` is how often that person saw it made again: a
-- request of an earlier loss does nothing about a later one (`schema_missing`). A schema that stands is `unchanged`;
-- one that has another name, or whose name another schema has, is refused.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.recreate_tenant_schema(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('recreate tenant %s', options ->> 'schema_id');
    tenant       edu_matrix_hub_schema.tenant_schemas;
    absence      jsonb;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant((options ->> 'schema_id')::uuid, 'structure', true);
        tenant := edu_matrix_hub_schema._lock_tenant(tenant.id, 'access', true);
        attempt := format('recreate schema "%s"', tenant.schema_name);
        absence := edu_matrix_hub_schema._schema_absence(tenant);
        IF absence IS NULL THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                                                 format('schema "%s" stands', tenant.schema_name), tenant.id);
        ELSIF absence ->> 'kind' <> 'dropped' THEN
            PERFORM edu_matrix_hub_schema._refuse('schema_missing', absence ->> 'text',
                                                  jsonb_build_object('absence', absence));
        ELSIF (options ->> 'recreations')::integer <> tenant.recreations THEN
            PERFORM edu_matrix_hub_schema._refuse('schema_missing',
                'it was made again since that was asked for, and is missing once more');
        ELSIF EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = tenant.schema_name) THEN
            PERFORM edu_matrix_hub_schema._refuse('name_taken',
                'a role has this name by now, and the schema would come first in its default search_path; '
                'rename the role');
        END IF;
        PERFORM edu_matrix_hub_schema._create_tenant_roles(tenant.id);
        SELECT t.* INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant.id;
        PERFORM edu_matrix_hub_schema._grant_tenant_owner(tenant.id);
        PERFORM edu_matrix_hub_schema._build_tenant_schema(tenant);
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t
        SET saved_acl = CASE t.access WHEN 'Suspended' THEN
                                 coalesce(t.saved_acl, edu_matrix_hub_schema._usual_acl(tenant)) END,
            recreations = t.recreations + 1, table_count = 0, storage_used = 0, usage_stale = false,
            size_estimate = NULL, write_signature = 0, foreign_tables = NULL, fingerprint = NULL,
            reported = NULL, updated_at = now()
        WHERE t.id = tenant.id;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('recreate_tenant_schema', tenant.id, options ->> 'requested_by',
                                                  started, attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'recreate_tenant_schema', 'success',
                                       options ->> 'requested_by', started, attempt);
    RETURN edu_matrix_hub_schema._result('success', format('schema "%s" made again, empty', tenant.schema_name),
                                         tenant.id);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.recreate_tenant_schema(jsonb) FROM PUBLIC;

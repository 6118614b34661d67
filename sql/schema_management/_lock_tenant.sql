-- Locks one aspect of a tenant (see _tenant_lock) and returns its row. Refuses with `busy` when another call holds the
-- lock or the tenant is just being dropped, and with `not_found` when there is no such tenant or it was dropped.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._lock_tenant(schema_id uuid, kind text, exclusive boolean)
RETURNS edu_matrix_hub_schema.tenant_schemas
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    tenant edu_matrix_hub_schema.tenant_schemas;
BEGIN
    IF NOT edu_matrix_hub_schema._tenant_lock(schema_id, kind, exclusive) THEN
        PERFORM edu_matrix_hub_schema._refuse('busy', 'another call is at work on this tenant',
                                              jsonb_build_object('blocker', edu_matrix_hub_schema._at_work(schema_id)));
    END IF;
    SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = schema_id;
    IF tenant.id IS NULL OR tenant.status = 'dropped' THEN
        PERFORM edu_matrix_hub_schema._refuse('not_found',
            format('there is no tenant %s%s', schema_id,
                   CASE tenant.status WHEN 'dropped' THEN ' any more: it was dropped' ELSE '' END));
    ELSIF tenant.status = 'dropping' THEN
        PERFORM edu_matrix_hub_schema._refuse('busy', 'the tenant is just being dropped');
    END IF;
    RETURN tenant;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._lock_tenant(uuid, text, boolean) FROM PUBLIC;

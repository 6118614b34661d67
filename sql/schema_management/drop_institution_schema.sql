-- Drops a tenant by hand: nothing is lost, its schema is set aside as the final backup, from which restore_set_aside
-- brings it back and which purge_schema_backup removes. A tenant that belongs to a TenantSchema is not dropped but
-- named, unless that TenantSchema has let go of it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.drop_institution_schema(schema_id uuid)
RETURNS TABLE (status text, message text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    answer jsonb;
BEGIN
    IF schema_id IS NULL THEN
        RETURN QUERY SELECT 'error', 'cannot drop no tenant: a schema_id is needed';
        RETURN;
    END IF;
    answer := edu_matrix_hub_schema.set_aside_tenant_schema(jsonb_build_object('schema_id', schema_id));
    RETURN QUERY SELECT answer ->> 'status',
                        (answer ->> 'message') || coalesce(' (backup ' || (answer #>> '{detail,backup_id}') || ')', '');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.drop_institution_schema(uuid) FROM PUBLIC;

-- Brings back what was set aside, by hand: the public form of restore_tenant_schema. A tenant that a TenantSchema owned
-- comes back as `released`, with its former owner noted and without a TenantSchema: a re-created one is a conflict
-- until it reclaims the tenant. One made by hand is as it was.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.restore_set_aside(backup_id uuid)
RETURNS TABLE (status text, message text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    answer jsonb := edu_matrix_hub_schema.restore_tenant_schema(jsonb_build_object('backup_id', backup_id));
BEGIN
    RETURN QUERY SELECT answer ->> 'status', answer ->> 'message';
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.restore_set_aside(uuid) FROM PUBLIC;

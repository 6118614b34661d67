-- Creates the schema of a known institution, by hand: the public form of create_tenant_schema. An unknown institution
-- is an error here, also where the TenantDatabase registers them; the log names the session's user.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.create_institution_schema(institution_id uuid, schema_name text)
RETURNS TABLE (status text, message text, schema_id uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    answer jsonb;
BEGIN
    IF institution_id IS NULL THEN
        RETURN QUERY SELECT 'error', 'cannot create a schema for no institution: an institution_id is needed',
               NULL::uuid;
        RETURN;
    END IF;
    answer := edu_matrix_hub_schema.create_tenant_schema(
        jsonb_build_object('schema_name', schema_name, 'institution_id', institution_id));
    RETURN QUERY SELECT answer ->> 'status', answer ->> 'message', (answer ->> 'schema_id')::uuid;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.create_institution_schema(uuid, text) FROM PUBLIC;

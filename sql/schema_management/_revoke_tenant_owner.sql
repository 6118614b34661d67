-- Ends what _grant_tenant_owner began.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._revoke_tenant_owner(schema_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    PERFORM edu_matrix_hub_schema._role_command(t.keeper, 'give_back', ARRAY[t.owner_role])
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    WHERE t.id = _revoke_tenant_owner.schema_id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._revoke_tenant_owner(uuid) FROM PUBLIC;

-- Makes our role a member of the tenant's owner role, with SET and INHERIT; refuses when one of the tenant's roles is
-- not the one that its name says. The caller takes it back with _revoke_tenant_owner before its transaction ends:
-- standing memberships make every privilege check slower.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._grant_tenant_owner(schema_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    tenant edu_matrix_hub_schema.tenant_schemas;
BEGIN
    SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = schema_id;
    PERFORM edu_matrix_hub_schema._require_roles(tenant);
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._grant_tenant_owner(uuid) FROM PUBLIC;

-- Makes our role a member of the tenant's owner role, with SET and INHERIT. The caller takes it back with
-- _revoke_tenant_owner before its transaction ends: standing memberships make every privilege check slower.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._grant_tenant_owner(schema_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    PERFORM edu_matrix_hub_schema._role_command(t.keeper, 'take', ARRAY[t.owner_role])
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    WHERE t.id = _grant_tenant_owner.schema_id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._grant_tenant_owner(uuid) FROM PUBLIC;

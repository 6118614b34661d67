-- A tenant as _check_owner is to see it when its TenantSchema gives it to another one: as that one's. The owners of the
-- database told the caller which TenantSchema gives it; a tenant of any other, and one that is not given, is as it is.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._given(
    tenant edu_matrix_hub_schema.tenant_schemas, owner jsonb, transfer jsonb
) RETURNS edu_matrix_hub_schema.tenant_schemas
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    IF (tenant.owner_cluster, tenant.owner_namespace, tenant.owner_name)
       = (owner ->> 'cluster', transfer ->> 'namespace', transfer ->> 'name') THEN
        tenant.owner_namespace := owner ->> 'namespace';
        tenant.owner_name := owner ->> 'name';
        tenant.owner_namespace_uid := owner ->> 'namespace_uid';
    END IF;
    RETURN tenant;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._given(edu_matrix_hub_schema.tenant_schemas, jsonb, jsonb) FROM PUBLIC;

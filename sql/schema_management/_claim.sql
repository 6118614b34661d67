-- A tenant as another one sees it: whose it is, and nothing about what is in it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._claim(tenant edu_matrix_hub_schema.tenant_schemas) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT pg_catalog.jsonb_build_object(
        'schema_id', tenant.id, 'schema_name', tenant.schema_name, 'status', tenant.status,
        'taken_over', tenant.taken_over, 'cluster', tenant.owner_cluster,
        'namespace', tenant.owner_namespace, 'name', tenant.owner_name, 'uid', tenant.owner_uid,
        'namespace_uid', tenant.owner_namespace_uid)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._claim(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

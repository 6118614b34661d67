-- Lets what the catalogue knows of the SchemaBackups of a tenant follow it into another namespace, where their
-- manifests are applied again: they are found there and not made again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._move_backups(tenant edu_matrix_hub_schema.tenant_schemas, owner jsonb)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    UPDATE edu_matrix_hub_schema.schema_backups AS b
    SET object_namespace = owner ->> 'namespace', object_namespace_uid = owner ->> 'namespace_uid'
    WHERE b.schema_id = tenant.id AND b.object_cluster = owner ->> 'cluster'
      AND b.object_namespace = tenant.owner_namespace
      AND b.object_namespace <> owner ->> 'namespace'
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._move_backups(edu_matrix_hub_schema.tenant_schemas, jsonb) FROM PUBLIC;

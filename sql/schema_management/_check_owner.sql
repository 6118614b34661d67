-- Refuses unless a TenantSchema may have a tenant that was another one's or no object's: it must have the cluster,
-- namespace and name of the other (its uid differs when it was made again), and no other schema. A namespace deleted
-- and made again is another one, unless `answered_for` says who confirmed that it is the right one; where either UID
-- is not known, the name counts.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._check_owner(edu_matrix_hub_schema.tenant_schemas, jsonb);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._check_owner(
    tenant edu_matrix_hub_schema.tenant_schemas, owner jsonb, answered_for text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    other edu_matrix_hub_schema.tenant_schemas;
BEGIN
    IF num_nulls(owner ->> 'cluster', owner ->> 'namespace', owner ->> 'name', owner ->> 'uid') > 0 THEN
        PERFORM edu_matrix_hub_schema._refuse('internal', 'an owner needs cluster, namespace, name and uid');
    ELSIF (tenant.owner_cluster, tenant.owner_namespace, tenant.owner_name)
          <> (owner ->> 'cluster', owner ->> 'namespace', owner ->> 'name') THEN
        PERFORM edu_matrix_hub_schema._refuse('not_owner',
            format('it is of TenantSchema %s/%s of cluster %s', tenant.owner_namespace,
                   tenant.owner_name, tenant.owner_cluster),
            jsonb_build_object('holder', edu_matrix_hub_schema._claim(tenant)));
    ELSIF tenant.owner_namespace_uid <> owner ->> 'namespace_uid' AND tenant.owner_uid <> owner ->> 'uid'
          AND answered_for IS NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('not_owner',
            format('it is of a namespace %s that was deleted, and another one of that name was made since',
                   tenant.owner_namespace),
            jsonb_build_object('holder', edu_matrix_hub_schema._claim(tenant)));
    END IF;
    SELECT * INTO other FROM edu_matrix_hub_schema.tenant_schemas AS t
    WHERE t.owner_uid = owner ->> 'uid' AND t.status <> 'dropped' AND t.id <> tenant.id;
    IF other.id IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('name_taken',
                                              format('this TenantSchema owns schema "%s" already', other.schema_name),
                                              jsonb_build_object('holder', edu_matrix_hub_schema._claim(other)));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._check_owner(edu_matrix_hub_schema.tenant_schemas, jsonb, text)
    FROM PUBLIC;

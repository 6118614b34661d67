-- Makes the roles of a tenant that are missing, through the keeper that its row names; returns the names of those it made.
-- A role of that name that stands already stays as it is.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._create_tenant_roles(schema_id uuid) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    tenant  edu_matrix_hub_schema.tenant_schemas;
    missing text[];
BEGIN
    SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = schema_id;
    SELECT coalesce(array_agg(wanted.name ORDER BY wanted.name), '{}') INTO missing
    FROM unnest(ARRAY[tenant.owner_role, tenant.reader_role, tenant.writer_role]) AS wanted (name)
    WHERE NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = wanted.name);
    IF tenant.keeper IS NULL AND cardinality(missing) = 3 THEN
        tenant.keeper := edu_matrix_hub_schema._choose_role_keeper();
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET keeper = tenant.keeper WHERE t.id = schema_id AND tenant.keeper IS NOT NULL;
    END IF;
    IF missing <> '{}' THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'create', missing);
    END IF;
    RETURN missing;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._create_tenant_roles(uuid) FROM PUBLIC;

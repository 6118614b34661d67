-- Makes the roles of a tenant that are missing, through the keeper that its row names; returns the names of those it
-- made. A role that stands already stays as it is; for one that was renamed, or whose name another role has, the call
-- is refused with the statement.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._create_tenant_roles(schema_id uuid) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    tenant  edu_matrix_hub_schema.tenant_schemas;
    missing text[];
BEGIN
    SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = schema_id;
    PERFORM edu_matrix_hub_schema._require_roles(tenant);
    SELECT coalesce(array_agg(wanted.name ORDER BY wanted.name), '{}') INTO missing
    FROM unnest(ARRAY[tenant.owner_role, tenant.reader_role, tenant.writer_role]) AS wanted (name)
    WHERE NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = wanted.name);
    IF tenant.keeper IS NULL AND cardinality(missing) = 3 THEN
        tenant.keeper := edu_matrix_hub_schema._choose_role_keeper();
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET keeper = tenant.keeper
        WHERE t.id = schema_id AND tenant.keeper IS NOT NULL;
    END IF;
    IF missing <> '{}' THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'create', missing);
        PERFORM edu_matrix_hub_schema._remember_roles(schema_id, missing);
    END IF;
    RETURN missing;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._create_tenant_roles(uuid) FROM PUBLIC;

-- Notes which roles these new ones of a tenant are.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._remember_roles(schema_id uuid, made text[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET owner_role_oid = CASE WHEN t.owner_role = ANY (made) THEN to_regrole(quote_ident(t.owner_role))
                              ELSE t.owner_role_oid END,
        reader_role_oid = CASE WHEN t.reader_role = ANY (made) THEN to_regrole(quote_ident(t.reader_role))
                               ELSE t.reader_role_oid END,
        writer_role_oid = CASE WHEN t.writer_role = ANY (made) THEN to_regrole(quote_ident(t.writer_role))
                               ELSE t.writer_role_oid END
    WHERE t.id = $1
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._remember_roles(uuid, text[]) FROM PUBLIC;

-- Makes the schema of a registered tenant: the schema itself, its grants and the default privileges of its owner, and
-- remembers which schema and roles these are. The owner role stands and we are a member of it, which ends here. Used
-- when a tenant is created and when a lost schema is made again. With `adopts` the schema stands, and becomes the
-- owner's.
--
-- The default privileges are global ones of the owner role, which owns nothing elsewhere: so they outlive a lost
-- schema, and only global ones can take from PUBLIC what PostgreSQL gives every role, EXECUTE on functions and USAGE of
-- types. Types matter since a foreign column of a tenant's type would keep the tenant from being dropped. Readers may
-- look at sequences, writers may also advance them. Only writers call functions, since one that runs with the owner's
-- rights may write.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._build_tenant_schema(edu_matrix_hub_schema.tenant_schemas);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._build_tenant_schema(tenant edu_matrix_hub_schema.tenant_schemas,
                                                                      adopts boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    -- A suspended tenant's grants wait in saved_acl until it is opened.
    EXECUTE format(CASE WHEN adopts THEN 'ALTER SCHEMA %1$I OWNER TO %2$I;'
                        ELSE 'CREATE SCHEMA %1$I AUTHORIZATION %2$I;' END || $statements$
        COMMENT ON SCHEMA %1$I IS %5$L;
        ALTER DEFAULT PRIVILEGES FOR ROLE %2$I GRANT SELECT ON SEQUENCES TO %3$I, %4$I;
        ALTER DEFAULT PRIVILEGES FOR ROLE %2$I GRANT USAGE ON SEQUENCES TO %4$I;
        ALTER DEFAULT PRIVILEGES FOR ROLE %2$I REVOKE EXECUTE ON ROUTINES FROM PUBLIC;
        ALTER DEFAULT PRIVILEGES FOR ROLE %2$I REVOKE USAGE ON TYPES FROM PUBLIC;
        ALTER DEFAULT PRIVILEGES FOR ROLE %2$I GRANT USAGE ON TYPES TO %3$I, %4$I;
        $statements$
        -- Where policies are required, what is new is open to nobody before it was looked at (see _cover_tables).
        || CASE WHEN NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_row_security AS s
                                 WHERE s.schema_id = tenant.id AND s.mode = 'Required') THEN $statements$
        ALTER DEFAULT PRIVILEGES FOR ROLE %2$I GRANT SELECT ON TABLES TO %3$I, %4$I;
        ALTER DEFAULT PRIVILEGES FOR ROLE %2$I GRANT INSERT, UPDATE, DELETE ON TABLES TO %4$I;
        ALTER DEFAULT PRIVILEGES FOR ROLE %2$I GRANT EXECUTE ON ROUTINES TO %4$I;
        $statements$ ELSE '' END
        || CASE tenant.access WHEN 'ReadWrite' THEN 'GRANT USAGE ON SCHEMA %1$I TO %3$I, %4$I;'
                              WHEN 'Suspended' THEN '' ELSE 'GRANT USAGE ON SCHEMA %1$I TO %3$I;' END,
        tenant.schema_name, tenant.owner_role, tenant.reader_role, tenant.writer_role, 'tenant ' || tenant.id);
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET schema_oid = to_regnamespace(quote_ident(tenant.schema_name)),
        owner_role_oid = to_regrole(quote_ident(tenant.owner_role)),
        reader_role_oid = to_regrole(quote_ident(tenant.reader_role)),
        writer_role_oid = to_regrole(quote_ident(tenant.writer_role))
    WHERE t.id = tenant.id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._build_tenant_schema(edu_matrix_hub_schema.tenant_schemas, boolean)
    FROM PUBLIC;

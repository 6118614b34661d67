-- Removes a bounded part of the large objects that a former tenant's roles own in this database, after its schema is
-- gone for good, and says what; null when there are none. They belong to no schema, so nothing else drops them, and
-- the roles could not go before them. Each costs a lock until the commit, as in _purge_part.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._unlink_large_objects(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    standing CONSTANT text[] := edu_matrix_hub_schema._own_roles(tenant);
    objects  oid[];
BEGIN
    SELECT array_agg(d.objid) INTO objects
    FROM (SELECT s.objid
          FROM pg_shdepend AS s
          WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o' AND s.classid = 'pg_largeobject'::regclass
            AND s.refobjid IN (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = ANY (standing))
            AND s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
          LIMIT least(1000, greatest(edu_matrix_hub_schema._lock_budget() / 4, 100))) AS d;
    IF objects IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', standing);
    PERFORM lo_unlink(o.oid) FROM unnest(objects) AS o (oid);
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', standing);
    RETURN format('%s large objects removed', cardinality(objects));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._unlink_large_objects(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

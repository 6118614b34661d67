-- The tables of a tenant's schema that belong to another role than its owner role, as when a migration forgot to act
-- as that role: {count, first} with the identifier of one of them, or null. What an extension made, and what is
-- ours, does not count.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._foreign_tables(namespace oid, owner_role oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    RETURN (
        SELECT CASE WHEN count(*) > 0 THEN jsonb_build_object('count', count(*),
                                                              'first', (array_agg(c.oid ORDER BY c.relname))[1]) END
        FROM pg_depend AS n
        JOIN pg_class AS c ON c.oid = n.objid
        WHERE n.refclassid = 'pg_namespace'::regclass AND n.refobjid = namespace AND n.classid = 'pg_class'::regclass
          AND c.relkind IN ('r', 'p') AND c.relowner NOT IN (owner_role, current_user::regrole)
          AND NOT EXISTS (SELECT FROM pg_depend AS d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                            AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._foreign_tables(oid, oid) FROM PUBLIC;

-- The objects of a schema that others can depend on: relations with their row types, indexes, types with their arrays
-- and multiranges, functions, operators and so on; some may come twice. Found through pg_depend, whose index knows
-- schemas: pg_class would have to be read whole for one of them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._schema_members(namespace oid) RETURNS TABLE (classid oid, objid oid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH direct AS MATERIALIZED (
        SELECT d.classid, d.objid
        FROM pg_depend AS d
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace
          -- What belongs to a publication or an extension is not in the schema, though it depends on it.
          AND d.classid NOT IN ('pg_publication_namespace'::regclass, 'pg_extension'::regclass,
                                'pg_default_acl'::regclass)
    ), row_types AS MATERIALIZED (
        SELECT c.reltype AS oid FROM direct AS d JOIN pg_class AS c ON c.oid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND c.reltype <> 0
    ), types AS (
        SELECT d.objid AS oid FROM direct AS d WHERE d.classid = 'pg_type'::regclass
        UNION ALL SELECT r.oid FROM row_types AS r
    )
    -- Not UNION: taking out what comes twice would cost as much as all the rest.
    SELECT d.classid, d.objid FROM direct AS d
    UNION ALL SELECT 'pg_type'::regclass, r.oid FROM row_types AS r
    UNION ALL SELECT 'pg_type'::regclass, y.typarray FROM types AS t JOIN pg_type AS y ON y.oid = t.oid
              WHERE y.typarray <> 0
    UNION ALL SELECT 'pg_type'::regclass, g.rngmultitypid FROM types AS t JOIN pg_range AS g ON g.rngtypid = t.oid
    UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM direct AS d JOIN pg_index AS i ON i.indrelid = d.objid
              WHERE d.classid = 'pg_class'::regclass
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._schema_members(oid) FROM PUBLIC;

-- The objects that stand directly in a schema, with how many objects fall with each: a table's indexes, constraints, defaults,
-- triggers, row types, TOAST table and owned sequences. `kind` is the word of the DROP statement, `other` for what
-- only a superuser makes, and for what belongs to an extension, which cannot be dropped without it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._schema_weights(namespace oid) RETURNS TABLE (kind text, object oid, name text, weight bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE WHEN EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e') THEN 'other'
                WHEN c.relkind IN ('r', 'p') THEN 'table' WHEN c.relkind = 'S' THEN 'SEQUENCE' WHEN c.relkind = 'f' THEN 'FOREIGN TABLE'
                WHEN c.relkind = 'c' THEN 'TYPE' WHEN p.oid IS NOT NULL THEN 'ROUTINE' WHEN y.oid IS NOT NULL THEN 'TYPE'
                WHEN i.type IN ('collation', 'operator', 'operator class', 'operator family', 'conversion', 'text search configuration',
                                'text search dictionary', 'statistics object') THEN upper(replace(i.type, ' object', '')) ELSE 'other' END,
           d.objid,
           CASE WHEN c.oid IS NOT NULL THEN c.oid::regclass::text WHEN p.oid IS NOT NULL THEN p.oid::regprocedure::text
                WHEN y.oid IS NOT NULL THEN format_type(y.oid, NULL) ELSE i.identity END,
           3 + (SELECT count(DISTINCT (part.classid, part.objid)) FROM pg_depend AS part
                WHERE part.refclassid = d.classid AND part.refobjid = d.objid AND part.deptype IN ('a', 'i'))
             + CASE WHEN c.reltoastrelid <> 0 THEN 2 ELSE 0 END
    FROM pg_depend AS d
    LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_type AS y ON d.classid = 'pg_type'::regclass AND y.oid = d.objid
    LEFT JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS i
      ON d.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._schema_weights(oid) FROM PUBLIC;

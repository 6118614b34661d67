-- Objects that stand directly in a schema, at most `most`, with how many objects fall with each: a table's indexes,
-- constraints, defaults, triggers, row types, TOAST table and owned sequences. Of which ones: `all`, `tables` (such as
-- no other inherits from), `views`, or `others` (all else that DROP has a word for). `kind` is that word, or `other`
-- for what only a superuser makes, and for what belongs to an extension and cannot be dropped without it.
--
-- Those that were made last come first, since few objects depend on younger ones. That is how their index lies;
-- sorting, or joining in another way, would read the whole schema for a few of them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._schema_weights(namespace oid, wanted text, most bigint)
RETURNS TABLE (kind text, classid oid, object oid, name text, weight bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_sort = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $function$
    WITH member AS MATERIALIZED (
        SELECT d.classid, d.objid, c.relkind, extension.owns
        FROM pg_depend AS d
        LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
        CROSS JOIN LATERAL (SELECT count(*) > 0 AS owns FROM pg_depend AS e
                            WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e') AS extension
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace
          -- Most others are no relations; nothing is looked up for each of a million types to find that
          -- there is no table.
          AND (wanted IN ('all', 'others') OR d.classid = 'pg_class'::regclass)
          AND (wanted = 'all' OR NOT extension.owns)
          AND CASE wanted
              WHEN 'tables' THEN c.relkind IN ('r', 'p')
                   AND (SELECT count(*) FROM pg_inherits AS i WHERE i.inhparent = d.objid) = 0
              WHEN 'views' THEN c.relkind IN ('v', 'm')
              WHEN 'others' THEN (c.relkind IS NULL OR c.relkind NOT IN ('r', 'p', 'v', 'm'))
                   AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass,
                                     'pg_collation'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass,
                                     'pg_opfamily'::regclass, 'pg_conversion'::regclass,
                                     'pg_ts_config'::regclass, 'pg_ts_dict'::regclass, 'pg_statistic_ext'::regclass)
              ELSE true END
        ORDER BY d.refobjsubid DESC
        LIMIT most
    )
    SELECT CASE WHEN m.owns THEN 'other'
                WHEN m.relkind IN ('r', 'p') THEN 'TABLE'
                WHEN m.relkind = 'v' THEN 'VIEW'
                WHEN m.relkind = 'm' THEN 'MATERIALIZED VIEW'
                WHEN m.relkind = 'S' THEN 'SEQUENCE'
                WHEN m.relkind = 'f' THEN 'FOREIGN TABLE'
                WHEN m.relkind = 'c' THEN 'TYPE'
                WHEN p.oid IS NOT NULL THEN 'ROUTINE' WHEN y.oid IS NOT NULL THEN 'TYPE'
                WHEN i.type IN ('collation', 'operator', 'operator class', 'operator family', 'conversion',
                                'text search configuration', 'text search dictionary', 'statistics object')
                    THEN upper(replace(i.type, ' object', ''))
                ELSE 'other' END,
           m.classid, m.objid,
           CASE WHEN m.relkind IS NOT NULL THEN m.objid::regclass::text
                WHEN p.oid IS NOT NULL THEN edu_matrix_hub_schema._routine_name(p.oid)
                WHEN y.oid IS NOT NULL THEN format_type(y.oid, NULL)
                ELSE i.identity END,
           3 + (SELECT count(DISTINCT (part.classid, part.objid)) FROM pg_depend AS part
                WHERE part.refclassid = m.classid AND part.refobjid = m.objid AND part.deptype IN ('a', 'i'))
             + CASE WHEN m.relkind IN ('r', 'm') THEN 2 ELSE 0 END
    FROM member AS m
    LEFT JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
    LEFT JOIN pg_type AS y ON m.classid = 'pg_type'::regclass AND y.oid = m.objid
    LEFT JOIN LATERAL pg_identify_object(m.classid, m.objid, 0) AS i
      ON m.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._schema_weights(oid, text, bigint) FROM PUBLIC;

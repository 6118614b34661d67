-- compare_columns() raises with everything in which the columns, constraints, indexes and triggers of the registry's
-- tables differ from what it is given: {relation, kind, name, definition}, the last in the words of the catalogue
-- without `::text` and our schema's name. A constraint that is not validated is missing, and so are an index that is
-- not valid and a trigger that is off.
CREATE OR REPLACE FUNCTION pg_temp.compare_columns(wanted text[]) RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
    problem text;
BEGIN
    SELECT string_agg(p.text, chr(10)) INTO problem
    FROM (
        SELECT format('%s %s.%s is "%s" and not "%s"', w.kind, w.relation, w.name, coalesce(f.definition, 'missing'),
                      w.definition) AS text
        FROM (SELECT wanted[n][1] AS relation, wanted[n][2] AS kind, wanted[n][3] AS name, wanted[n][4] AS definition
              FROM generate_subscripts(wanted, 1) AS g (n)) AS w
        LEFT JOIN (
            SELECT c.relname::text AS relation, part.kind, part.name::text, replace(
                       replace(part.definition, '::text', ''), 'edu_matrix_hub_schema.', '') AS definition
            FROM pg_catalog.pg_namespace AS n
            JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
            CROSS JOIN LATERAL (
                SELECT 'column' AS kind, a.attname AS name,
                       format_type(a.atttypid, a.atttypmod)
                       || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
                       || CASE a.attidentity WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY' ELSE '' END
                       || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') AS definition
                FROM pg_catalog.pg_attribute AS a
                LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                UNION ALL
                SELECT 'constraint', k.conname, pg_get_constraintdef(k.oid)
                FROM pg_catalog.pg_constraint AS k
                LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = k.conindid
                WHERE k.conrelid = c.oid AND k.convalidated AND i.indisvalid IS NOT FALSE
                UNION ALL
                SELECT 'index', o.relname,
                       CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END
                       || substring(pg_get_indexdef(i.indexrelid) FROM ' USING (.*)')
                FROM pg_catalog.pg_index AS i
                JOIN pg_catalog.pg_class AS o ON o.oid = i.indexrelid
                WHERE i.indrelid = c.oid AND i.indisvalid
                UNION ALL
                SELECT 'trigger', t.tgname, substring(pg_get_triggerdef(t.oid) FROM ' ((BEFORE|AFTER) .*)')
                FROM pg_catalog.pg_trigger AS t
                WHERE t.tgrelid = c.oid AND t.tgenabled = 'O'
            ) AS part
            WHERE n.nspname = 'edu_matrix_hub_schema'
        ) AS f ON f.relation = w.relation AND f.kind = w.kind AND f.name = w.name
        WHERE f.definition IS DISTINCT FROM w.definition
    ) AS p;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem;
    END IF;
END
$function$;

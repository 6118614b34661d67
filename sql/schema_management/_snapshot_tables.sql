-- What a snapshot has to copy: every table of a schema that holds rows of its own (leaf partitions and inheritance
-- children by themselves; tables that an extension made only if it declares their rows as the user's), how to create
-- its copy and how to read it, and whether `reader` can read it whole. Reads the catalogue only.
--
-- A column keeps its type if that is a built-in one. Every other type, and the types that store object identifiers,
-- becomes text through the type's output function: format('%s') and not a cast, since a tenant may define casts. IS
-- DISTINCT FROM NULL is a plain test even of a composite value whose fields are all null. `locks` is what copying
-- takes.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._snapshot_tables(namespace oid, reader oid)
RETURNS TABLE (relation oid, name text, create_columns text, select_list text, columns jsonb, locks bigint,
               pages bigint, problem text, statement text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT c.oid, c.relname::text, a.create_columns, a.select_list, a.columns,
           2 + (SELECT count(*) FROM pg_index AS i WHERE i.indrelid = c.oid)
             + CASE WHEN c.reltoastrelid <> 0 OR a.toastable THEN 4 ELSE 0 END,
           c.relpages + coalesce((SELECT t.relpages FROM pg_class AS t WHERE t.oid = c.reltoastrelid), 0)::bigint,
           CASE WHEN NOT readable.granted AND c.relowner = r.oid
                THEN format('its owner role "%s" has taken SELECT on it from itself', r.rolname)
                WHEN NOT readable.granted
                THEN format('role "%s" may not read it, it belongs to "%s"', r.rolname, o.rolname)
                WHEN NOT readable.owned
                THEN format('its row security applies to role "%s", it belongs to "%s"', r.rolname, o.rolname)
                WHEN NOT readable.whole
                THEN 'its row security is forced on its owner' END,
           CASE WHEN NOT readable.granted AND c.relowner = r.oid
                THEN format('GRANT SELECT ON %I.%I TO %I', n.nspname, c.relname, r.rolname)
                WHEN NOT readable.granted OR NOT readable.owned
                THEN format('ALTER TABLE %I.%I OWNER TO %I', n.nspname, c.relname, r.rolname)
                WHEN NOT readable.whole
                THEN format('ALTER TABLE %I.%I NO FORCE ROW LEVEL SECURITY', n.nspname, c.relname) END
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_roles AS r ON r.oid = reader
    JOIN pg_roles AS o ON o.oid = c.relowner
    CROSS JOIN LATERAL (
        SELECT has_table_privilege(r.oid, c.oid, 'SELECT') AS granted,
               r.rolbypassrls OR NOT c.relrowsecurity OR pg_has_role(r.oid, c.relowner, 'USAGE') AS owned,
               r.rolbypassrls OR NOT c.relrowsecurity OR NOT c.relforcerowsecurity AS whole
    ) AS readable
    CROSS JOIN LATERAL (
        SELECT coalesce(string_agg(
                   format('%I %s', att.attname,
                          CASE WHEN plain.yes THEN format_type(att.atttypid, att.atttypmod) ELSE 'text' END),
                   ', ' ORDER BY att.attnum), '') AS create_columns,
               coalesce(string_agg(
                   CASE WHEN plain.yes THEN format('source.%I', att.attname)
                        ELSE format('CASE WHEN source.%1$I IS DISTINCT FROM NULL THEN pg_catalog.format(''%%s'', '
                                    'source.%1$I) END', att.attname) END,
                   ', ' ORDER BY att.attnum), '') AS select_list,
               coalesce(jsonb_agg(jsonb_build_object(
                   'name', att.attname, 'type', format_type(att.atttypid, att.atttypmod), 'plain', plain.yes)
                   ORDER BY att.attnum), '[]') AS columns,
               coalesce(bool_or(NOT plain.yes OR ty.typstorage <> 'p'), false) AS toastable
        FROM pg_attribute AS att
        JOIN pg_type AS ty ON ty.oid = att.atttypid
        CROSS JOIN LATERAL (
            SELECT ty.typnamespace = 'pg_catalog'::regnamespace AND ty.typtype IN ('b', 'r', 'm')
                   AND ty.typname !~ '^_?reg[a-z]+$'
                   AND coalesce((SELECT e.typtype FROM pg_type AS e WHERE e.oid = ty.typelem), 'b') <> 'c' AS yes
        ) AS plain
        WHERE att.attrelid = c.oid AND att.attnum > 0 AND NOT att.attisdropped
    ) AS a
    WHERE c.relnamespace = namespace AND c.relkind = 'r'
      AND NOT EXISTS (
          SELECT FROM pg_depend AS d
          JOIN pg_extension AS e ON e.oid = d.refobjid
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_extension'::regclass
            AND d.deptype = 'e'
            AND (e.extconfig IS NULL OR NOT c.oid = ANY (e.extconfig)))
    ORDER BY c.oid
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._snapshot_tables(oid, oid) FROM PUBLIC;

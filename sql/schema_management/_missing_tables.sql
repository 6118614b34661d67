-- What holds rows in a schema: tables, also partitioned ones, and materialized views, as {oid: name}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._tables_of(namespace oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(jsonb_object_agg(c.oid, c.relname), '{}')
    FROM pg_depend AS d
    JOIN pg_class AS c ON c.oid = d.objid
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace AND d.classid = 'pg_class'::regclass
      AND c.relkind IN ('r', 'p', 'm')
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._tables_of(oid) FROM PUBLIC;

-- The tables that were set aside and do not stand any more: {missing, tables, names: [the first ten...]}, or null when
-- all do. No former user of the tenant can make a table in what was set aside, so a name counts as well as a number: a
-- dump that was restored changes all numbers. Backups from before the list was kept have only a count, and if that is
-- missing too, nothing is compared.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._missing_tables(backup edu_matrix_hub_schema.schema_backups,
                                                                 namespace oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH lost AS MATERIALIZED (
        SELECT r.value AS name
        FROM jsonb_each_text(backup.manifest -> 'tables') AS r
        WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.key::oid AND c.relnamespace = namespace)
          AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.relname = r.value AND c.relnamespace = namespace)
    ), counted AS (
        SELECT (SELECT count(*) FROM jsonb_object_keys(backup.manifest -> 'tables')) AS tables,
               (SELECT count(*) FROM lost) AS missing
        WHERE backup.manifest ? 'tables'
        UNION ALL
        SELECT backup.table_count, backup.table_count - (
            SELECT count(*) FROM jsonb_each_text(edu_matrix_hub_schema._tables_of(namespace)) AS t
            JOIN pg_class AS c ON c.oid = t.key::oid AND c.relkind = 'r')
        WHERE NOT backup.manifest ? 'tables'
    )
    SELECT jsonb_build_object('missing', c.missing, 'tables', c.tables,
                              'names', (SELECT coalesce(jsonb_agg(f.name ORDER BY f.name), '[]')
                                        FROM (SELECT l.name FROM lost AS l ORDER BY l.name LIMIT 10) AS f))
    FROM counted AS c
    WHERE c.missing > 0
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._missing_tables(edu_matrix_hub_schema.schema_backups, oid) FROM PUBLIC;

-- Refuses with `tables_missing` when any is: a tenant must not come back empty and look whole.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._refuse_missing_tables(backup edu_matrix_hub_schema.schema_backups,
                                                                        namespace oid) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    lost CONSTANT jsonb := edu_matrix_hub_schema._missing_tables(backup, namespace);
BEGIN
    IF lost IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('tables_missing',
            format('%s of the %s tables that were set aside were dropped since then%s; '
                   'put them back into schema %I from a backup of the server, '
                   'or accept that they are lost: SELECT * FROM edu_matrix_hub_schema.accept_missing_tables(%L)',
                   lost ->> 'missing', lost ->> 'tables',
                   coalesce(' (' || (SELECT string_agg(quote_ident(n.name), ', ' ORDER BY n.name)
                                     FROM jsonb_array_elements_text(lost -> 'names') AS n (name))
                            || CASE WHEN (lost ->> 'missing')::bigint > 10 THEN ', ...' ELSE '' END || ')', ''),
                   backup.location, backup.id),
            lost);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._refuse_missing_tables(edu_matrix_hub_schema.schema_backups, oid)
    FROM PUBLIC;

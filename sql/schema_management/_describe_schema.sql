-- Everything about a schema that is not rows: its owner, grants, default privileges, comments, tables
-- (_describe_tables), types, functions, operators and their classes, collations, conversions, text search, the
-- extensions it uses and the publications it is part of. Part of a snapshot's manifest: text that is run only by a
-- restore, as the tenant's owner. A part that is too long is null, and `left_out` names it with the bytes that it
-- takes (see _undescribed).
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._describe_schema(namespace oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    left_out CONSTANT jsonb := edu_matrix_hub_schema._undescribed(namespace);
BEGIN
    RETURN (SELECT jsonb_build_object(
        'left_out', left_out,
        'owner', (SELECT pg_get_userbyid(n.nspowner) FROM pg_namespace AS n WHERE n.oid = namespace),
        'relations', CASE WHEN NOT left_out ? 'relations' THEN edu_matrix_hub_schema._describe_tables(namespace) END,
        'types', CASE WHEN NOT left_out ? 'types' THEN (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                'name', y.typname, 'kind', y.typtype, 'owner', pg_get_userbyid(y.typowner),
                'labels', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum AS e
                           WHERE e.enumtypid = y.oid),
                'base', CASE WHEN y.typtype = 'd' THEN format_type(y.typbasetype, y.typtypmod) END,
                'collation', CASE WHEN y.typtype = 'd' AND y.typcollation <> 0 THEN
                                      y.typcollation::regcollation::text END,
                'default', CASE WHEN y.typtype = 'd' THEN coalesce(pg_get_expr(y.typdefaultbin, 0), y.typdefault) END,
                'not_null', nullif(y.typnotnull, false),
                'constraints', (SELECT jsonb_agg(jsonb_build_object('name', k.conname, 'definition',
                                                                    pg_get_constraintdef(k.oid)) ORDER BY k.conname)
                                FROM pg_constraint AS k WHERE k.contypid = y.oid),
                'range', (SELECT jsonb_build_object('subtype', format_type(g.rngsubtype, NULL),
                                                    'multirange', format_type(g.rngmultitypid, NULL),
                                                    'collation', nullif(g.rngcollation, 0)::regcollation::text,
                                                    'subtype_opclass', (SELECT format('%I.%I', n.nspname, o.opcname)
                                                                        FROM pg_opclass AS o
                                                                        JOIN pg_namespace AS n ON n.oid = o.opcnamespace
                                                                        WHERE o.oid = g.rngsubopc),
                                                    'canonical', nullif(g.rngcanonical, 0)::regprocedure::text,
                                                    'subtype_diff', nullif(g.rngsubdiff, 0)::regprocedure::text)
                          FROM pg_range AS g WHERE g.rngtypid = y.oid))) ORDER BY y.typname COLLATE "C"), '[]')
            FROM pg_type AS y
            WHERE y.typnamespace = namespace AND y.typtype IN ('d', 'e', 'r', 'b', 'c')
              AND NOT (y.typtype = 'b' AND y.typelem <> 0)
              AND (y.typrelid = 0 OR EXISTS (SELECT FROM pg_class AS c
                                             WHERE c.oid = y.typrelid AND c.relkind = 'c'))) END,
        'functions', CASE WHEN NOT left_out ? 'functions' THEN (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'name', p.oid::regprocedure::text, 'kind', p.prokind, 'owner', pg_get_userbyid(p.proowner),
                'definition', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
                'aggregate', (SELECT to_jsonb(g) FROM pg_aggregate AS g WHERE g.aggfnoid = p.oid))
                ORDER BY p.oid), '[]')
            FROM pg_proc AS p WHERE p.pronamespace = namespace) END,
        'operators', CASE WHEN NOT left_out ? 'operators' THEN (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'name', o.oid::regoperator::text, 'function', o.oprcode::oid::regprocedure::text,
                'commutator', nullif(o.oprcom, 0)::regoperator::text,
                'negator', nullif(o.oprnegate, 0)::regoperator::text,
                'restrict', nullif(o.oprrest::oid, 0)::regprocedure::text,
                'join', nullif(o.oprjoin::oid, 0)::regprocedure::text,
                'merges', o.oprcanmerge, 'hashes', o.oprcanhash) ORDER BY o.oid), '[]')
            FROM pg_operator AS o WHERE o.oprnamespace = namespace) END,
        'operator_classes', CASE WHEN NOT left_out ? 'operators' THEN (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'name', o.opcname, 'type', format_type(o.opcintype, NULL), 'default', o.opcdefault,
                'method', (SELECT am.amname FROM pg_am AS am WHERE am.oid = o.opcmethod),
                'members', (SELECT coalesce(jsonb_agg(pg_describe_object(m.classid, m.objid, 0) ORDER BY m.objid), '[]')
                            FROM (SELECT 'pg_amop'::regclass AS classid, a.oid AS objid FROM pg_amop AS a
                                  WHERE a.amopfamily = o.opcfamily
                                  UNION ALL
                                  SELECT 'pg_amproc'::regclass, a.oid FROM pg_amproc AS a
                                  WHERE a.amprocfamily = o.opcfamily) AS m)) ORDER BY o.oid), '[]')
            FROM pg_opclass AS o WHERE o.opcnamespace = namespace) END,
        'collations', CASE WHEN NOT left_out ? 'others' THEN (SELECT coalesce(
            jsonb_agg(to_jsonb(k) - '{oid,collnamespace,collowner}'::text[] ORDER BY k.collname COLLATE "C"), '[]')
            FROM pg_collation AS k WHERE k.collnamespace = namespace) END,
        'conversions', CASE WHEN NOT left_out ? 'others' THEN (SELECT coalesce(
            jsonb_agg(to_jsonb(k) - '{oid,connamespace,conowner}'::text[] ORDER BY k.conname COLLATE "C"), '[]')
            FROM pg_conversion AS k WHERE k.connamespace = namespace) END,
        'text_search', CASE WHEN NOT left_out ? 'others' THEN (
            SELECT coalesce(jsonb_agg(s.facts ORDER BY s.facts), '[]') FROM (
                SELECT jsonb_build_object(
                    'configuration', k.cfgname,
                    'parser', pg_describe_object('pg_ts_parser'::regclass, k.cfgparser, 0),
                    'mappings', (SELECT jsonb_agg(jsonb_build_array(m.maptokentype, m.mapdict::regdictionary::text)
                                                  ORDER BY m.maptokentype, m.mapseqno)
                                 FROM pg_ts_config_map AS m WHERE m.mapcfg = k.oid)) AS facts
                FROM pg_ts_config AS k WHERE k.cfgnamespace = namespace
                UNION ALL
                SELECT jsonb_build_object(
                    'dictionary', k.dictname,
                    'template', pg_describe_object('pg_ts_template'::regclass, k.dicttemplate, 0),
                    'options', k.dictinitoption)
                FROM pg_ts_dict AS k WHERE k.dictnamespace = namespace) AS s) END,
        'casts', CASE WHEN NOT left_out ? 'others' THEN (SELECT coalesce(jsonb_agg(
                pg_describe_object('pg_cast'::regclass, k.oid, 0)
                || coalesce(' using ' || nullif(k.castfunc, 0)::regprocedure::text, '') ORDER BY k.oid), '[]')
            FROM pg_cast AS k
            WHERE EXISTS (SELECT FROM pg_type AS y WHERE y.oid IN (k.castsource, k.casttarget)
                            AND y.typnamespace = namespace)) END,
        'grants', CASE WHEN NOT left_out ? 'grants' THEN jsonb_build_object(
            'schema', (SELECT to_jsonb(n.nspacl::text[]) FROM pg_namespace AS n WHERE n.oid = namespace),
            'relations', (SELECT jsonb_object_agg(c.relname, to_jsonb(c.relacl::text[])) FROM pg_class AS c
                          WHERE c.relnamespace = namespace AND c.relacl IS NOT NULL),
            'columns', (SELECT jsonb_object_agg(format('%I.%I', c.relname, a.attname), to_jsonb(a.attacl::text[]))
                        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
                        WHERE c.relnamespace = namespace),
            'functions', (SELECT jsonb_object_agg(p.oid::regprocedure::text, to_jsonb(p.proacl::text[]))
                          FROM pg_proc AS p WHERE p.pronamespace = namespace AND p.proacl IS NOT NULL),
            'types', (SELECT jsonb_object_agg(y.typname, to_jsonb(y.typacl::text[])) FROM pg_type AS y
                      WHERE y.typnamespace = namespace AND y.typacl IS NOT NULL)) END,
        'default_privileges', CASE WHEN NOT left_out ? 'grants' THEN (SELECT coalesce(jsonb_agg(
                jsonb_build_object('role', pg_get_userbyid(d.defaclrole), 'everywhere', d.defaclnamespace = 0,
                                   'kind', d.defaclobjtype, 'acl', d.defaclacl::text[]) ORDER BY d.oid), '[]')
            FROM pg_default_acl AS d
            WHERE d.defaclnamespace = namespace
               OR (d.defaclnamespace = 0 AND d.defaclrole = (SELECT n.nspowner FROM pg_namespace AS n
                                                             WHERE n.oid = namespace))) END,
        'comments', CASE WHEN NOT left_out ? 'comments' THEN (SELECT coalesce(jsonb_agg(
                jsonb_build_object('on', pg_describe_object(d.classoid, d.objoid, d.objsubid), 'text', d.description)
                ORDER BY d.classoid, d.objoid, d.objsubid), '[]')
            FROM pg_description AS d
            WHERE (d.classoid, d.objoid) IN (SELECT c.classid, c.objid
                                             FROM edu_matrix_hub_schema._commented(namespace) AS c)) END,
        'extensions', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', e.extname, 'version', e.extversion,
                                                                    'schema', e.extnamespace::regnamespace::text)
                                                 ORDER BY e.extname), '[]')
                       FROM pg_extension AS e WHERE e.extname <> 'plpgsql'),
        'publications', edu_matrix_hub_schema._publications(namespace)));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._describe_schema(oid) FROM PUBLIC;

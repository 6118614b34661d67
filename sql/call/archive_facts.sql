-- What a dump of a schema ($1) says not or not at a glance, as one document: {encoding, sequences, grants,
-- row_security, extensions, references, outside}, all but the first {total, entries: [...]} with a thousand entries at
-- most.
--
--   sequences     {name, last_value, is_called}, without the latter two where the role may not read it
--   grants        {on, name, grantee, grantor, privileges}, on the schema and the relations in it
--   row_security  {table, enabled, forced, policies}, of tables that have any of these
--   extensions    {name, version, schema} that objects in the schema need
--   references    {constraint, from_schema, from_table, to_schema, to_table}: foreign keys to and from other schemas
--   outside       what objects in the schema need of other schemas and is of no extension, as text: it must be there
--                 before the dump can be restored
--
-- A sequence's position is in its relation alone, and query_to_xml() is what reads one of any name in one statement.
-- Every name is given in full, and operators are those of pg_catalog, which the transaction has as its search_path (see
-- archive_session.sql).
WITH place AS MATERIALIZED (
    SELECT n.oid, n.nspname, n.nspacl FROM pg_catalog.pg_namespace AS n
    WHERE n.oid = $1::pg_catalog.int8::pg_catalog.oid
), relation AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind, c.relacl, c.relrowsecurity, c.relforcerowsecurity, p.nspname,
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_policy AS q WHERE q.polrelid = c.oid) AS policies
    FROM place AS p JOIN pg_catalog.pg_class AS c ON c.relnamespace = p.oid
), sequence AS (
    SELECT r.relname, x.position
    FROM (SELECT s.* FROM relation AS s WHERE s.relkind = 'S' ORDER BY s.relname LIMIT 1000) AS r
    CROSS JOIN LATERAL (
        SELECT CASE WHEN pg_catalog.has_sequence_privilege(r.oid, 'SELECT') THEN pg_catalog.query_to_xml(
            pg_catalog.format('SELECT last_value, is_called FROM %I.%I', r.nspname, r.relname), true, false, ''
            )::pg_catalog.text END AS position) AS x
), granted AS (
    SELECT g.on, g.name, a.grantee, a.grantor,
           pg_catalog.array_agg(a.privilege_type || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
                                ORDER BY a.privilege_type, a.is_grantable) AS privileges
    FROM (SELECT 'schema' AS on, p.nspname AS name, p.nspacl AS acl FROM place AS p
          UNION ALL
          SELECT CASE r.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                                WHEN 'f' THEN 'foreign table' ELSE 'table' END, r.relname, r.relacl
          FROM relation AS r) AS g
    CROSS JOIN LATERAL pg_catalog.aclexplode(g.acl) AS a
    GROUP BY g.on, g.name, a.grantee, a.grantor
), part (classid, objid) AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid FROM relation AS r
    UNION ALL SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid
              FROM relation AS r JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = r.oid
    UNION ALL SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, d.oid
              FROM relation AS r JOIN pg_catalog.pg_rewrite AS d ON d.ev_class = r.oid
    UNION ALL SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, d.oid
              FROM relation AS r JOIN pg_catalog.pg_trigger AS d ON d.tgrelid = r.oid
    UNION ALL SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, d.oid
              FROM relation AS r JOIN pg_catalog.pg_policy AS d ON d.polrelid = r.oid
    UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, d.oid
              FROM place AS p JOIN pg_catalog.pg_constraint AS d ON d.connamespace = p.oid
    UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, d.oid
              FROM place AS p JOIN pg_catalog.pg_type AS d ON d.typnamespace = p.oid
    UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, d.oid
              FROM place AS p JOIN pg_catalog.pg_proc AS d ON d.pronamespace = p.oid
    UNION ALL SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, d.oid
              FROM place AS p JOIN pg_catalog.pg_operator AS d ON d.oprnamespace = p.oid
    UNION ALL SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass, d.oid
              FROM place AS p JOIN pg_catalog.pg_opclass AS d ON d.opcnamespace = p.oid
    UNION ALL SELECT 'pg_catalog.pg_opfamily'::pg_catalog.regclass, d.oid
              FROM place AS p JOIN pg_catalog.pg_opfamily AS d ON d.opfnamespace = p.oid
    UNION ALL SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, d.oid
              FROM place AS p JOIN pg_catalog.pg_collation AS d ON d.collnamespace = p.oid
    UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, d.oid
              FROM place AS p JOIN pg_catalog.pg_statistic_ext AS d ON d.stxnamespace = p.oid
    UNION ALL SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, d.oid
              FROM place AS p JOIN pg_catalog.pg_ts_dict AS d ON d.dictnamespace = p.oid
    UNION ALL SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass, d.oid
              FROM place AS p JOIN pg_catalog.pg_ts_config AS d ON d.cfgnamespace = p.oid
), extension AS (
    SELECT e.extname, e.extversion, n.nspname
    FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
    WHERE e.oid IN (
        SELECT coalesce(m.refobjid, d.refobjid)
        FROM part AS t
        JOIN pg_catalog.pg_depend AS d ON d.classid = t.classid AND d.objid = t.objid
        LEFT JOIN pg_catalog.pg_depend AS m
          ON m.classid = d.refclassid AND m.objid = d.refobjid AND m.deptype = 'e'
         AND m.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
        -- The owner of a function may let it depend on an extension that it has nothing of.
        WHERE d.deptype <> 'x'
          AND (m.refobjid IS NOT NULL OR d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass))
), reference AS (
    SELECT k.conname, n.nspname AS from_schema, c.relname AS from_table, o.nspname AS to_schema, f.relname AS to_table
    FROM place AS p
    CROSS JOIN pg_catalog.pg_constraint AS k
    JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
    JOIN pg_catalog.pg_class AS f ON f.oid = k.confrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_namespace AS o ON o.oid = f.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND (c.relnamespace = p.oid) <> (f.relnamespace = p.oid)
), needed AS (
    SELECT DISTINCT d.refclassid, d.refobjid
    FROM part AS t
    JOIN pg_catalog.pg_depend AS d ON d.classid = t.classid AND d.objid = t.objid
    WHERE d.refclassid IN (
        'pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass,
        'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,
        'pg_catalog.pg_opclass'::pg_catalog.regclass, 'pg_catalog.pg_opfamily'::pg_catalog.regclass,
        'pg_catalog.pg_collation'::pg_catalog.regclass, 'pg_catalog.pg_ts_config'::pg_catalog.regclass,
        'pg_catalog.pg_ts_dict'::pg_catalog.regclass, 'pg_catalog.pg_ts_template'::pg_catalog.regclass,
        'pg_catalog.pg_ts_parser'::pg_catalog.regclass, 'pg_catalog.pg_language'::pg_catalog.regclass,
        'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass,
        'pg_catalog.pg_foreign_server'::pg_catalog.regclass)
), outside AS (
    SELECT pg_catalog.pg_describe_object(e.refclassid, e.refobjid, 0) AS what
    FROM needed AS e
    LEFT JOIN pg_catalog.pg_class AS c
      ON e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = e.refobjid
    LEFT JOIN pg_catalog.pg_type AS y
      ON e.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND y.oid = e.refobjid
    LEFT JOIN pg_catalog.pg_proc AS f
      ON e.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND f.oid = e.refobjid
    LEFT JOIN pg_catalog.pg_operator AS o
      ON e.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = e.refobjid
    LEFT JOIN pg_catalog.pg_opclass AS s
      ON e.refclassid = 'pg_catalog.pg_opclass'::pg_catalog.regclass AND s.oid = e.refobjid
    LEFT JOIN pg_catalog.pg_opfamily AS m
      ON e.refclassid = 'pg_catalog.pg_opfamily'::pg_catalog.regclass AND m.oid = e.refobjid
    LEFT JOIN pg_catalog.pg_collation AS l
      ON e.refclassid = 'pg_catalog.pg_collation'::pg_catalog.regclass AND l.oid = e.refobjid
    LEFT JOIN pg_catalog.pg_ts_config AS g
      ON e.refclassid = 'pg_catalog.pg_ts_config'::pg_catalog.regclass AND g.oid = e.refobjid
    LEFT JOIN pg_catalog.pg_ts_dict AS d
      ON e.refclassid = 'pg_catalog.pg_ts_dict'::pg_catalog.regclass AND d.oid = e.refobjid
    LEFT JOIN pg_catalog.pg_ts_template AS i
      ON e.refclassid = 'pg_catalog.pg_ts_template'::pg_catalog.regclass AND i.oid = e.refobjid
    LEFT JOIN pg_catalog.pg_ts_parser AS r
      ON e.refclassid = 'pg_catalog.pg_ts_parser'::pg_catalog.regclass AND r.oid = e.refobjid
    -- A language and a foreign server are in no schema, and need not be in another database.
    CROSS JOIN LATERAL (SELECT coalesce(c.relnamespace, y.typnamespace, f.pronamespace, o.oprnamespace, s.opcnamespace,
                                        m.opfnamespace, l.collnamespace, g.cfgnamespace, d.dictnamespace,
                                        i.tmplnamespace, r.prsnamespace) AS oid) AS n
    WHERE n.oid IS DISTINCT FROM (SELECT p.oid FROM place AS p)
      AND coalesce(n.oid NOT IN ('pg_catalog'::pg_catalog.regnamespace,
                                 'information_schema'::pg_catalog.regnamespace,
                                 'pg_toast'::pg_catalog.regnamespace), true)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS x
                      WHERE x.classid = e.refclassid AND x.objid = e.refobjid AND x.deptype = 'e')
)
SELECT pg_catalog.jsonb_build_object(
    'encoding', pg_catalog.current_setting('server_encoding'),
    'sequences', pg_catalog.jsonb_build_object(
        'total', (SELECT pg_catalog.count(*) FROM relation AS r WHERE r.relkind = 'S'),
        'entries', (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                               'name', s.relname,
                               'last_value', substring(s.position FROM '<last_value>(-?[0-9]+)<')::pg_catalog.int8,
                               'is_called', substring(s.position FROM '<is_called>([a-z]+)<')::pg_catalog.bool))
                               ORDER BY s.relname), '[]')
                    FROM sequence AS s)),
    'grants', pg_catalog.jsonb_build_object(
        'total', (SELECT pg_catalog.count(*) FROM granted AS g),
        'entries', (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                               'on', g.on, 'name', g.name,
                               'grantee', CASE g.grantee WHEN 0 THEN 'PUBLIC'
                                          ELSE pg_catalog.pg_get_userbyid(g.grantee)::pg_catalog.text END,
                               'grantor', pg_catalog.pg_get_userbyid(g.grantor), 'privileges', g.privileges)
                               ORDER BY g.on, g.name, g.grantee, g.grantor), '[]')
                    FROM (SELECT e.* FROM granted AS e
                          ORDER BY e.on, e.name, e.grantee, e.grantor LIMIT 1000) AS g)),
    'row_security', pg_catalog.jsonb_build_object(
        'total', (SELECT pg_catalog.count(*) FROM relation AS r
                  WHERE r.relrowsecurity OR r.relforcerowsecurity OR r.policies > 0),
        'entries', (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                               'table', r.relname, 'enabled', r.relrowsecurity, 'forced', r.relforcerowsecurity,
                               'policies', r.policies) ORDER BY r.relname), '[]')
                    FROM (SELECT e.* FROM relation AS e
                          WHERE e.relrowsecurity OR e.relforcerowsecurity OR e.policies > 0
                          ORDER BY e.relname LIMIT 1000) AS r)),
    'extensions', pg_catalog.jsonb_build_object(
        'total', (SELECT pg_catalog.count(*) FROM extension AS e),
        'entries', (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                               'name', e.extname, 'version', e.extversion, 'schema', e.nspname)
                               ORDER BY e.extname), '[]')
                    FROM (SELECT x.* FROM extension AS x ORDER BY x.extname LIMIT 1000) AS e)),
    'references', pg_catalog.jsonb_build_object(
        'total', (SELECT pg_catalog.count(*) FROM reference AS k),
        'entries', (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                               'constraint', k.conname, 'from_schema', k.from_schema, 'from_table', k.from_table,
                               'to_schema', k.to_schema, 'to_table', k.to_table)
                               ORDER BY k.from_schema, k.from_table, k.conname), '[]')
                    FROM (SELECT x.* FROM reference AS x
                          ORDER BY x.from_schema, x.from_table, x.conname LIMIT 1000) AS k)),
    'outside', pg_catalog.jsonb_build_object(
        'total', (SELECT pg_catalog.count(*) FROM outside AS o),
        'entries', (SELECT coalesce(pg_catalog.jsonb_agg(o.what ORDER BY o.what), '[]')
                    FROM (SELECT x.* FROM outside AS x ORDER BY x.what LIMIT 1000) AS o)))

-- Tables, views and sequences of a schema as the catalogue has them: columns with types, defaults, identities and
-- options, storage, partitioning, inheritance, constraints, indexes, triggers, rules, policies and statistics. Part of
-- a snapshot's manifest.
--
-- Only functions of pg_catalog write these definitions, and they write text; nothing here is evaluated. Names come out
-- qualified because search_path holds no tenant's schema.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._describe_tables(namespace oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH relation AS MATERIALIZED (
        SELECT c.* FROM pg_class AS c WHERE c.relnamespace = namespace
          AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
    ), cols AS (
        SELECT a.attrelid, jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
            'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
            'collation', (SELECT format('%I.%I', n.nspname, k.collname) FROM pg_collation AS k
                          JOIN pg_namespace AS n ON n.oid = k.collnamespace
                          WHERE k.oid = a.attcollation AND a.attcollation <> ty.typcollation),
            'not_null', nullif(a.attnotnull, false), 'identity', nullif(a.attidentity::text, ''),
            'generated', nullif(a.attgenerated::text, ''), 'default', pg_get_expr(d.adbin, d.adrelid),
            'storage', CASE WHEN a.attstorage <> ty.typstorage THEN a.attstorage::text END,
            'compression', nullif(a.attcompression::text, ''),
            'statistics', nullif(a.attstattarget, -1), 'options', a.attoptions, 'fdw_options', a.attfdwoptions,
            'inherited', CASE WHEN a.attinhcount > 0 THEN true END, 'local', CASE WHEN NOT a.attislocal THEN false END))
            ORDER BY a.attnum) AS columns
        FROM relation AS r
        JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type AS ty ON ty.oid = a.atttypid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE r.relkind <> 'S'
        GROUP BY a.attrelid
    )
    SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'name', r.relname, 'kind', r.relkind, 'owner', pg_get_userbyid(r.relowner),
        'persistence', nullif(r.relpersistence, 'p'), 'options', r.reloptions,
        'toast_options', (SELECT t.reloptions FROM pg_class AS t WHERE t.oid = r.reltoastrelid),
        'access_method', (SELECT am.amname FROM pg_am AS am WHERE am.oid = r.relam AND am.amname <> 'heap'),
        'tablespace', (SELECT ts.spcname FROM pg_tablespace AS ts WHERE ts.oid = r.reltablespace),
        'of_type', CASE WHEN r.reloftype <> 0 THEN format_type(r.reloftype, NULL) END,
        'columns', cols.columns,
        'partition_key', CASE WHEN r.relkind = 'p' THEN pg_get_partkeydef(r.oid) END,
        'partition_bound', pg_get_expr(r.relpartbound, r.oid),
        'parents', (SELECT jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno) FROM pg_inherits AS i
                    WHERE i.inhrelid = r.oid),
        'row_security', nullif(r.relrowsecurity, false), 'force_row_security', nullif(r.relforcerowsecurity, false),
        'replica_identity', nullif(r.relreplident, 'd'),
        'populated', CASE WHEN r.relkind = 'm' THEN r.relispopulated END,
        'definition', CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) END,
        'sequence', (SELECT jsonb_build_object('type', format_type(s.seqtypid, NULL), 'start', s.seqstart,
                                               'increment', s.seqincrement,
                                               'min', s.seqmin, 'max', s.seqmax,
                                               'cache', s.seqcache, 'cycle', s.seqcycle,
                                               'owned_by', (SELECT format('%s.%I', d.refobjid::regclass, a.attname)
                                                            FROM pg_depend AS d
                                                            JOIN pg_attribute AS a ON a.attrelid = d.refobjid
                                                             AND a.attnum = d.refobjsubid
                                                            WHERE d.classid = 'pg_class'::regclass
                                                              AND d.objid = r.oid AND d.objsubid = 0
                                                              AND d.refclassid = 'pg_class'::regclass
                                                              AND d.deptype IN ('a', 'i')))
                     FROM pg_sequence AS s WHERE s.seqrelid = r.oid),
        'foreign_server', (SELECT jsonb_build_object('server', s.srvname, 'options', f.ftoptions)
                           FROM pg_foreign_table AS f JOIN pg_foreign_server AS s ON s.oid = f.ftserver
                           WHERE f.ftrelid = r.oid),
        'constraints', (SELECT jsonb_agg(jsonb_build_object('name', k.conname,
                                                            'definition', pg_get_constraintdef(k.oid),
                                                            'local', k.conislocal, 'parent', k.conparentid <> 0)
                                                            ORDER BY k.contype, k.conname)
                        FROM pg_constraint AS k WHERE k.conrelid = r.oid),
        'indexes', (SELECT jsonb_agg(jsonb_build_object('name', i.indexrelid::regclass::text,
                                                        'definition', pg_get_indexdef(i.indexrelid),
                                                        'valid', i.indisvalid, 'clustered', i.indisclustered,
                                                        'replica_identity', i.indisreplident)
                                     ORDER BY i.indexrelid::regclass::text)
                    FROM pg_index AS i WHERE i.indrelid = r.oid),
        'triggers', (SELECT jsonb_agg(jsonb_build_object('name', t.tgname, 'definition', pg_get_triggerdef(t.oid),
                                                         'enabled', t.tgenabled) ORDER BY t.tgname)
                     FROM pg_trigger AS t WHERE t.tgrelid = r.oid AND NOT t.tgisinternal),
        'rules', (SELECT jsonb_agg(jsonb_build_object('name', u.rulename, 'definition', pg_get_ruledef(u.oid),
                                                      'enabled', u.ev_enabled) ORDER BY u.rulename)
                  FROM pg_rewrite AS u WHERE u.ev_class = r.oid AND u.rulename <> '_RETURN'),
        'policies', (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                         'name', p.polname, 'command', p.polcmd, 'permissive', p.polpermissive,
                         'roles', (SELECT jsonb_agg(CASE WHEN m.role = 0 THEN 'public' ELSE pg_get_userbyid(m.role) END)
                                   FROM unnest(p.polroles) AS m (role)),
                         'using', pg_get_expr(p.polqual, p.polrelid),
                         'check', pg_get_expr(p.polwithcheck, p.polrelid))) ORDER BY p.polname)
                     FROM pg_policy AS p WHERE p.polrelid = r.oid),
        'statistics', (SELECT jsonb_agg(pg_get_statisticsobjdef(s.oid) ORDER BY s.stxname) FROM pg_statistic_ext AS s
                       WHERE s.stxrelid = r.oid)
    )) ORDER BY r.relname COLLATE "C"), '[]')
    FROM relation AS r
    LEFT JOIN cols ON cols.attrelid = r.oid
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._describe_tables(oid) FROM PUBLIC;

-- What in a schema has comments that a manifest keeps; the schema itself too.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._commented(namespace oid) RETURNS TABLE (classid oid, objid oid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT 'pg_namespace'::regclass, namespace
    UNION ALL SELECT 'pg_class'::regclass, c.oid FROM pg_class AS c WHERE c.relnamespace = namespace
    UNION ALL SELECT 'pg_type'::regclass, y.oid FROM pg_type AS y WHERE y.typnamespace = namespace
    UNION ALL SELECT 'pg_proc'::regclass, p.oid FROM pg_proc AS p WHERE p.pronamespace = namespace
    UNION ALL SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint AS k WHERE k.connamespace = namespace
    UNION ALL SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
              WHERE c.relnamespace = namespace
    UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
              WHERE c.relnamespace = namespace
    UNION ALL SELECT 'pg_rewrite'::regclass, u.oid FROM pg_rewrite AS u JOIN pg_class AS c ON c.oid = u.ev_class
              WHERE c.relnamespace = namespace
    UNION ALL SELECT 'pg_operator'::regclass, o.oid FROM pg_operator AS o WHERE o.oprnamespace = namespace
    UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext AS s WHERE s.stxnamespace = namespace
    UNION ALL SELECT 'pg_collation'::regclass, k.oid FROM pg_collation AS k WHERE k.collnamespace = namespace
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._commented(oid) FROM PUBLIC;

-- The parts of a schema's definitions that are too long to be kept in a manifest, {part: bytes}. The tenant chooses how
-- many objects there are and how long their texts are, and a session that describes all of them holds all of it in the
-- server's memory. Each part has a bound of its own, so that a million types do not keep the tables from being
-- described.
--
-- It is estimated from the catalogue as it is stored; nothing long is read out for that but queries, of which some
-- are long work to write.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._undescribed(namespace oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH relation AS MATERIALIZED (
        SELECT c.oid, c.relpartbound, c.relacl, c.reloptions FROM pg_class AS c
        WHERE c.relnamespace = namespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
    ), type AS MATERIALIZED (
        SELECT y.oid, y.typdefaultbin, y.typdefault, y.typacl FROM pg_type AS y
        WHERE y.typnamespace = namespace AND NOT (y.typtype = 'b' AND y.typelem <> 0)
    ), function AS MATERIALIZED (
        -- A name of a type is 130 bytes at the most, with its schema.
        SELECT p.oid, p.proacl,
               coalesce(octet_length(p.prosrc), 0)::bigint + coalesce(octet_length(p.prosqlbody::text), 0)
               + coalesce(octet_length(p.proargdefaults::text), 0)
               + edu_matrix_hub_schema._definition_work(p.prosqlbody::text) / 8
               + edu_matrix_hub_schema._list_weight(p.proconfig) + edu_matrix_hub_schema._list_weight(p.proargnames)
               + 130 * coalesce(cardinality(p.proallargtypes), p.pronargs)
               + (SELECT coalesce(sum(coalesce(octet_length(g.agginitval), 0)::bigint
                                      + coalesce(octet_length(g.aggminitval), 0)), 0)
                  FROM pg_aggregate AS g WHERE g.aggfnoid = p.oid) AS bytes
        FROM pg_proc AS p WHERE p.pronamespace = namespace
    ), weight AS (
        SELECT 'relations' AS part,
               400 + coalesce(octet_length(r.relpartbound::text), 0)::bigint
               + edu_matrix_hub_schema._list_weight(r.reloptions) AS bytes
        FROM relation AS r
        UNION ALL SELECT 'relations', octet_length(t.partexprs::text) FROM relation AS r
                  JOIN pg_partitioned_table AS t ON t.partrelid = r.oid AND t.partexprs IS NOT NULL
        UNION ALL SELECT 'relations', edu_matrix_hub_schema._list_weight(t.ftoptions) FROM relation AS r
                  JOIN pg_foreign_table AS t ON t.ftrelid = r.oid
        UNION ALL SELECT 'relations', edu_matrix_hub_schema._list_weight(a.attoptions)
                         + edu_matrix_hub_schema._list_weight(a.attfdwoptions)
                  FROM relation AS r JOIN pg_attribute AS a
                    ON a.attrelid = r.oid AND (a.attoptions IS NOT NULL OR a.attfdwoptions IS NOT NULL)
        UNION ALL SELECT 'relations', 100 FROM relation AS r
                  JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0
        UNION ALL SELECT 'relations', octet_length(d.adbin::text) FROM relation AS r
                  JOIN pg_attrdef AS d ON d.adrelid = r.oid
        UNION ALL SELECT 'relations', 200 + coalesce(octet_length(k.conbin::text), 0) FROM relation AS r
                  JOIN pg_constraint AS k ON k.conrelid = r.oid
        UNION ALL SELECT 'relations', 300 + coalesce(octet_length(i.indexprs::text), 0)
                         + coalesce(octet_length(i.indpred::text), 0)
                  FROM relation AS r JOIN pg_index AS i ON i.indrelid = r.oid
        UNION ALL SELECT 'relations', 300 + coalesce(octet_length(t.tgqual::text), 0) + octet_length(t.tgargs)
                         + 130 * cardinality(t.tgattr::int2[])
                  FROM relation AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid
        UNION ALL SELECT 'relations', octet_length(u.ev_action::text)::bigint
                         + coalesce(octet_length(u.ev_qual::text), 0)
                         + (edu_matrix_hub_schema._definition_work(u.ev_action::text)
                            + edu_matrix_hub_schema._definition_work(u.ev_qual::text)) / 8
                  FROM relation AS r JOIN pg_rewrite AS u ON u.ev_class = r.oid
        UNION ALL SELECT 'relations', 300 + coalesce(octet_length(p.polqual::text), 0)::bigint
                         + coalesce(octet_length(p.polwithcheck::text), 0) + 130 * cardinality(p.polroles)
                         + (edu_matrix_hub_schema._definition_work(p.polqual::text)
                            + edu_matrix_hub_schema._definition_work(p.polwithcheck::text)) / 8
                  FROM relation AS r JOIN pg_policy AS p ON p.polrelid = r.oid
        UNION ALL SELECT 'relations', 200 + coalesce(octet_length(s.stxexprs::text), 0) FROM relation AS r
                  JOIN pg_statistic_ext AS s ON s.stxrelid = r.oid
        UNION ALL SELECT 'types', 200 + coalesce(octet_length(y.typdefaultbin::text), octet_length(y.typdefault), 0)
                  FROM type AS y
        UNION ALL SELECT 'types', 80 FROM type AS y JOIN pg_enum AS e ON e.enumtypid = y.oid
        UNION ALL SELECT 'types', 200 + coalesce(octet_length(k.conbin::text), 0) FROM type AS y
                  JOIN pg_constraint AS k ON k.contypid = y.oid
        UNION ALL SELECT 'functions', 400 + f.bytes FROM function AS f
        UNION ALL SELECT 'operators', 500 FROM pg_operator AS o WHERE o.oprnamespace = namespace
        UNION ALL SELECT 'operators', 200 FROM pg_opclass AS o
                  JOIN (SELECT a.amopfamily AS family FROM pg_amop AS a
                        UNION ALL SELECT a.amprocfamily FROM pg_amproc AS a) AS m ON m.family = o.opcfamily
                  WHERE o.opcnamespace = namespace
        UNION ALL SELECT 'others', 500 + pg_column_size(k) FROM pg_collation AS k WHERE k.collnamespace = namespace
        UNION ALL SELECT 'others', 500 FROM pg_conversion AS k WHERE k.connamespace = namespace
        UNION ALL SELECT 'others', 500 FROM pg_ts_config AS k LEFT JOIN pg_ts_config_map AS m ON m.mapcfg = k.oid
                  WHERE k.cfgnamespace = namespace
        UNION ALL SELECT 'others', 500 + coalesce(octet_length(k.dictinitoption), 0) FROM pg_ts_dict AS k
                  WHERE k.dictnamespace = namespace
        UNION ALL SELECT 'others', 500 FROM pg_cast AS k JOIN type AS y ON y.oid IN (k.castsource, k.casttarget)
        UNION ALL SELECT 'grants', 100 * (1 + coalesce(cardinality(o.acl), 0))
                  FROM (SELECT r.relacl AS acl FROM relation AS r WHERE r.relacl IS NOT NULL
                        UNION ALL SELECT y.typacl FROM type AS y WHERE y.typacl IS NOT NULL
                        UNION ALL SELECT f.proacl FROM function AS f WHERE f.proacl IS NOT NULL
                        UNION ALL SELECT n.nspacl FROM pg_namespace AS n WHERE n.oid = namespace
                        UNION ALL SELECT a.attacl FROM relation AS r
                                  JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attacl IS NOT NULL
                        UNION ALL SELECT d.defaclacl FROM pg_default_acl AS d
                        WHERE d.defaclnamespace = namespace OR d.defaclnamespace = 0
                          AND d.defaclrole = (SELECT n.nspowner FROM pg_namespace AS n WHERE n.oid = namespace)) AS o
        UNION ALL SELECT 'comments', 100 + octet_length(d.description)
                  FROM edu_matrix_hub_schema._commented(namespace) AS c
                  JOIN pg_description AS d ON d.classoid = c.classid AND d.objoid = c.objid
    )
    SELECT coalesce(jsonb_object_agg(s.part, s.bytes), '{}')
    FROM (SELECT w.part, sum(w.bytes)::bigint AS bytes FROM weight AS w GROUP BY w.part) AS s
    WHERE s.bytes > 32 * 1024 * 1024
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._undescribed(oid) FROM PUBLIC;

-- What a message says of them; nothing when there are none.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._undescribed_text(left_out jsonb) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce('; too long to be kept in its manifest are the definitions of its '
                    || (SELECT string_agg(format('%s (%s)', l.key, coalesce(pg_size_pretty(l.value::bigint),
                                                                            'more than the server can write')),
                                          ', ' ORDER BY l.key)
                        FROM jsonb_each_text(left_out) AS l), '')
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._undescribed_text(jsonb) FROM PUBLIC;

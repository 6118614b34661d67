-- What else in a schema reaches outside and is not taken away: policies, rules, materialized views, defaults, triggers,
-- columns of a type and so on, [{kind, name, note}...], fifty of them at most. Until the schema is removed, what they
-- refer to cannot be dropped without CASCADE, which takes them along.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._staying_references(namespace oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- Object by object: hashing would look up the schema of every constraint of the database, and of a
-- tenant's million objects too.
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $function$
    WITH direct AS MATERIALIZED (
        SELECT d.classid, d.objid
        FROM pg_depend AS d
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace
          AND d.classid NOT IN ('pg_publication_namespace'::regclass, 'pg_extension'::regclass,
                                'pg_default_acl'::regclass)
    ), part AS (
        SELECT m.classid, m.objid FROM direct AS m
        UNION ALL
        SELECT 'pg_class'::regclass, i.indexrelid FROM direct AS m JOIN pg_index AS i ON i.indrelid = m.objid
        WHERE m.classid = 'pg_class'::regclass
        UNION ALL
        -- A part of a table depends on other tables too, and is of one schema only.
        SELECT d.classid, d.objid
        FROM direct AS m
        JOIN pg_depend AS d ON d.refclassid = m.classid AND d.refobjid = m.objid
        WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_attrdef'::regclass,
                            'pg_trigger'::regclass, 'pg_constraint'::regclass)
          AND edu_matrix_hub_schema._home_schema(d.classid, d.objid) = namespace
    ), reaching AS (
        SELECT DISTINCT p.classid, p.objid
        FROM part AS p
        JOIN pg_depend AS d ON d.classid = p.classid AND d.objid = p.objid AND d.refclassid <> 'pg_namespace'::regclass
        -- The kinds that come by the thousand are looked up here: a call for each of them would take most of the time.
        CROSS JOIN LATERAL (SELECT CASE d.refclassid
            WHEN 'pg_class'::regclass THEN (SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = d.refobjid)
            WHEN 'pg_type'::regclass THEN (SELECT y.typnamespace FROM pg_type AS y WHERE y.oid = d.refobjid)
            ELSE edu_matrix_hub_schema._home_schema(d.refclassid, d.refobjid) END AS oid) AS home
        WHERE home.oid IS NOT NULL AND home.oid NOT IN (namespace, 'pg_catalog'::regnamespace,
                                                        'information_schema'::regnamespace, 'pg_toast'::regnamespace)
          AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = d.refclassid
                            AND e.objid = d.refobjid AND e.deptype = 'e')
    ), chosen AS MATERIALIZED (
        -- What a materialized view reads is said of the view.
        SELECT CASE WHEN c.relkind = 'm' THEN 'pg_class'::regclass::oid ELSE r.classid END AS classid,
               CASE WHEN c.relkind = 'm' THEN c.oid ELSE r.objid END AS objid
        FROM reaching AS r
        LEFT JOIN pg_rewrite AS u ON r.classid = 'pg_rewrite'::regclass AND u.oid = r.objid
        LEFT JOIN pg_class AS c ON c.oid = u.ev_class
        LEFT JOIN pg_constraint AS k ON r.classid = 'pg_constraint'::regclass AND k.oid = r.objid
        LEFT JOIN pg_proc AS p ON r.classid = 'pg_proc'::regclass AND p.oid = r.objid
        LEFT JOIN pg_trigger AS t ON r.classid = 'pg_trigger'::regclass AND t.oid = r.objid
        -- These are what is taken away; one that was not is named already.
        WHERE NOT coalesce(c.relkind = 'v' AND u.rulename = '_RETURN', false) AND NOT coalesce(k.contype = 'f', false)
          AND NOT coalesce(p.prosqlbody IS NOT NULL, false) AND NOT coalesce(t.tgisinternal, false)
        ORDER BY r.classid, r.objid
        LIMIT 50
    ), named AS (
        SELECT i.type AS kind, i.identity AS name FROM chosen AS c
        CROSS JOIN LATERAL pg_identify_object(c.classid, c.objid, 0) AS i
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('kind', n.kind, 'name', n.name, 'note', 'it stays as it is')
                              ORDER BY n.kind, n.name), '[]') FROM named AS n
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._staying_references(oid) FROM PUBLIC;

-- What else in a schema reaches outside and is not taken away: policies, rules, materialized views, defaults, triggers, columns of a
-- type and so on, [{kind, name, note}...], the first fifty. Until the schema is removed, what they refer to cannot be dropped
-- without CASCADE, which takes them along.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._staying_references(namespace oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH member AS MATERIALIZED (
        SELECT m.classid, m.objid FROM edu_matrix_hub_schema._schema_members(namespace) AS m
    ), part AS MATERIALIZED (
        SELECT m.classid, m.objid FROM member AS m
        UNION
        SELECT d.classid, d.objid
        FROM member AS m
        JOIN pg_depend AS d ON d.refclassid = m.classid AND d.refobjid = m.objid
        WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_attrdef'::regclass, 'pg_trigger'::regclass, 'pg_constraint'::regclass)
          AND edu_matrix_hub_schema._home_schema(d.classid, d.objid) = namespace
    ), reaching AS (
        SELECT DISTINCT p.classid, p.objid
        FROM part AS p
        JOIN pg_depend AS d ON d.classid = p.classid AND d.objid = p.objid AND d.refclassid <> 'pg_namespace'::regclass
        CROSS JOIN LATERAL (SELECT edu_matrix_hub_schema._home_schema(d.refclassid, d.refobjid) AS oid) AS home
        WHERE home.oid IS NOT NULL AND home.oid NOT IN (namespace, 'pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)
          AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e')
    ), named AS (
        SELECT i.type AS kind, i.identity AS name
        FROM reaching AS r
        LEFT JOIN pg_rewrite AS u ON r.classid = 'pg_rewrite'::regclass AND u.oid = r.objid
        LEFT JOIN pg_class AS c ON c.oid = u.ev_class
        LEFT JOIN pg_constraint AS k ON r.classid = 'pg_constraint'::regclass AND k.oid = r.objid
        LEFT JOIN pg_proc AS p ON r.classid = 'pg_proc'::regclass AND p.oid = r.objid
        LEFT JOIN pg_trigger AS t ON r.classid = 'pg_trigger'::regclass AND t.oid = r.objid
        -- What a materialized view reads is said of the view.
        CROSS JOIN LATERAL pg_identify_object(CASE WHEN c.relkind = 'm' THEN 'pg_class'::regclass::oid ELSE r.classid END,
                                              CASE WHEN c.relkind = 'm' THEN c.oid ELSE r.objid END, 0) AS i
        -- These are what is taken away; one that was not is named already.
        WHERE NOT coalesce(c.relkind = 'v' AND u.rulename = '_RETURN', false) AND NOT coalesce(k.contype = 'f', false)
          AND NOT coalesce(p.prosqlbody IS NOT NULL, false) AND NOT coalesce(t.tgisinternal, false)
        ORDER BY i.type, i.identity
        LIMIT 50
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('kind', n.kind, 'name', n.name, 'note', 'it stays as it is') ORDER BY n.kind, n.name), '[]') FROM named AS n
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._staying_references(oid) FROM PUBLIC;

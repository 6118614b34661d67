-- What depends on these views and functions, `leant`, but for their own parts and for temporary objects, which end with
-- their session; and in which schema it is. It keeps one plan, since it is called for each layer of a chain of views.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._leaning_on(keys bigint[])
RETURNS TABLE (leant bigint, key bigint, home oid)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
    RETURN QUERY
    WITH wanted AS (
        SELECT k.number, (k.number >> 32)::oid AS classid, (k.number & 4294967295)::oid AS objid
        FROM unnest($1) AS k (number)
    ), part AS (
        SELECT w.number, w.classid, w.objid FROM wanted AS w
        UNION ALL
        SELECT w.number, 'pg_type'::regclass, y.oid
        FROM wanted AS w
        JOIN pg_class AS c ON c.oid = w.objid
        JOIN pg_type AS r ON r.oid = c.reltype
        CROSS JOIN LATERAL (VALUES (r.oid), (r.typarray)) AS y (oid)
        WHERE w.classid = 'pg_class'::regclass
    )
    SELECT DISTINCT p.number, k.number, h.oid
    FROM part AS p
    JOIN pg_depend AS d ON d.refclassid = p.classid AND d.refobjid = p.objid
    CROSS JOIN LATERAL (SELECT edu_matrix_hub_schema._whole_key(d.classid, d.objid) AS number) AS k
    CROSS JOIN LATERAL (SELECT edu_matrix_hub_schema._home_schema((k.number >> 32)::oid,
                                                                  (k.number & 4294967295)::oid) AS oid) AS h
    WHERE k.number <> p.number AND d.classid NOT IN ('pg_publication_rel'::regclass, 'pg_default_acl'::regclass)
      AND coalesce(h.oid, 0) <> 'pg_toast'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_namespace AS n WHERE n.oid = h.oid AND left(n.nspname, 8) = 'pg_temp_');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._leaning_on(bigint[]) FROM PUBLIC;

-- What depends on a view or function, but for its own parts and for temporary objects, which end with their session.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._leaning_on(key bigint) RETURNS TABLE (key bigint, home oid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH part AS (
        SELECT ($1 >> 32)::oid AS classid, ($1 & 4294967295)::oid AS objid
        UNION ALL
        SELECT 'pg_type'::regclass, y.oid
        FROM pg_class AS c JOIN pg_type AS y ON y.oid = c.reltype OR y.typelem = c.reltype AND y.oid IN (
             SELECT r.typarray FROM pg_type AS r WHERE r.oid = c.reltype)
        WHERE ($1 >> 32)::oid = 'pg_class'::regclass AND c.oid = ($1 & 4294967295)::oid
    )
    SELECT DISTINCT k.key, h.oid
    FROM part AS p
    JOIN pg_depend AS d ON d.refclassid = p.classid AND d.refobjid = p.objid
    CROSS JOIN LATERAL (SELECT edu_matrix_hub_schema._whole_key(d.classid, d.objid) AS key,
                               edu_matrix_hub_schema._home_schema(d.classid, d.objid) AS oid) AS k
    CROSS JOIN LATERAL (SELECT edu_matrix_hub_schema._home_schema((k.key >> 32)::oid,
                                                                  (k.key & 4294967295)::oid) AS oid) AS h
    WHERE k.key <> $1 AND d.classid NOT IN ('pg_publication_rel'::regclass, 'pg_default_acl'::regclass)
      AND coalesce(h.oid, 0) <> 'pg_toast'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_namespace AS n WHERE n.oid = h.oid AND left(n.nspname, 8) = 'pg_temp_')
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._leaning_on(bigint) FROM PUBLIC;

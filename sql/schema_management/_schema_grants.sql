-- The grants on a schema that its owner did not give to itself, as saved_acl keeps them: [{grantee, oid, privilege,
-- grantable}...] in the order of the catalogue; grantee null is PUBLIC. By its object identifier a grantee is told from
-- another role that has its name later.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._schema_grants(text);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._schema_grants(namespace oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(jsonb_agg(jsonb_build_object('grantee', r.rolname, 'oid', r.oid::bigint,
                                                 'privilege', a.privilege_type, 'grantable', a.is_grantable)
                              ORDER BY a.ordinality), '[]')
    FROM pg_namespace AS n
    CROSS JOIN aclexplode(n.nspacl) WITH ORDINALITY AS a
    LEFT JOIN pg_roles AS r ON r.oid = a.grantee
    WHERE n.oid = $1 AND a.grantee <> n.nspowner
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._schema_grants(oid) FROM PUBLIC;

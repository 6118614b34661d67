-- Takes from everybody but the owner role whatever they may do with a schema of ours and its tables (default privileges that
-- somebody gave our role would let others in), and raises when something in it is not ours.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._only_ours(location text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
        FROM (SELECT n.nspacl AS acl, n.nspowner AS owner FROM pg_namespace AS n WHERE n.nspname = location
              UNION ALL
              SELECT c.relacl, c.relowner FROM pg_class AS c WHERE c.relnamespace = quote_ident(location)::regnamespace) AS held
        CROSS JOIN LATERAL aclexplode(held.acl) AS a
        WHERE a.grantee <> held.owner
    LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %s', location, granted.grantee);
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %s', location, granted.grantee);
    END LOOP;
    IF EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = location AND n.nspowner <> current_user::regrole)
       OR EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = quote_ident(location)::regnamespace AND (c.relowner <> current_user::regrole OR c.relkind <> 'r'))
       OR EXISTS (SELECT FROM pg_proc AS p WHERE p.pronamespace = quote_ident(location)::regnamespace) THEN
        PERFORM edu_matrix_hub_schema._refuse('internal', format('schema "%s" holds something that is not ours', location));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._only_ours(text) FROM PUBLIC;

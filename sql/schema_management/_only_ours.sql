-- Takes from all roles but the owner role every right on a schema of ours and its tables (default privileges that a
-- user gave our role would let others in), and raises when something in it is not ours, or something outside depends on
-- it: a tenant's code that runs while its tables are read can make a type with a column of a copy's type, and such a
-- type would keep the snapshot from being removed. Later no role can, since none has a right on the schema.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._only_ours(location text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    grantees text;
    pinned   text;
BEGIN
    SELECT string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                      ', ') INTO grantees
    FROM (SELECT n.nspacl AS acl, n.nspowner AS owner FROM pg_namespace AS n WHERE n.nspname = location
          UNION ALL
          SELECT c.relacl, c.relowner FROM pg_class AS c
          WHERE c.relnamespace = quote_ident(location)::regnamespace) AS held
    CROSS JOIN LATERAL aclexplode(held.acl) AS a
    WHERE a.grantee <> held.owner;
    IF grantees IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %s', location, grantees);
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %s', location, grantees);
    END IF;
    IF EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = location AND n.nspowner <> current_user::regrole)
       OR EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = quote_ident(location)::regnamespace
                    AND (c.relowner <> current_user::regrole OR c.relkind <> 'r'))
       OR EXISTS (SELECT FROM pg_proc AS p WHERE p.pronamespace = quote_ident(location)::regnamespace) THEN
        PERFORM edu_matrix_hub_schema._refuse('internal',
                                              format('schema "%s" holds something that is not ours', location));
    END IF;
    SELECT string_agg(d.name, ', ') INTO pinned
    FROM (SELECT o.name FROM edu_matrix_hub_schema._outside_dependents(quote_ident(location)::regnamespace, NULL,
                                                                       NULL) AS o (name) LIMIT 5) AS d;
    IF pinned IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('internal',
            format('code that ran while its tables were read made something that depends on the snapshot (%s) and '
                   'would keep it from being removed; '
                   'remove that code from index, statistics and policy expressions', pinned));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._only_ours(text) FROM PUBLIC;

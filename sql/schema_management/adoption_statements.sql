-- What a DBA runs before a schema can be adopted whose objects belong to roles that we cannot act as: one statement a
-- row, which give them to the role that owns the functions. A message tells the line for psql (see _adoption_script).
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.adoption_statements(schema_name text) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    namespace CONSTANT oid := to_regnamespace(quote_ident(schema_name))::oid;
BEGIN
    IF namespace IS NULL OR edu_matrix_hub_schema._not_adoptable(namespace) IS NOT NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH foreigner AS MATERIALIZED (
        SELECT o.owner
        FROM (SELECT DISTINCT w.owner FROM edu_matrix_hub_schema._adoptable_objects(namespace) AS w
              UNION SELECT n.nspowner FROM pg_namespace AS n WHERE n.oid = namespace) AS o
        WHERE edu_matrix_hub_schema._way_to_act_as(o.owner) = 'script'
          AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_adoptions AS a
                          WHERE a.schema_oid = namespace AND a.owner_role_oid = o.owner)
    )
    -- A new owner must be able to make objects in the schema.
    SELECT CASE WHEN n.nspowner IN (SELECT f.owner FROM foreigner AS f)
                THEN edu_matrix_hub_schema._owner_statement('pg_namespace'::regclass, n.oid, current_user)
                ELSE format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', n.nspname, current_user) END
    FROM pg_namespace AS n WHERE n.oid = namespace AND EXISTS (SELECT FROM foreigner)
    UNION ALL
    SELECT s.statement
    FROM (SELECT edu_matrix_hub_schema._owner_statement(o.classid, o.objid, current_user) AS statement
          FROM edu_matrix_hub_schema._adoptable_objects(namespace) AS o
          JOIN foreigner AS f ON f.owner = o.owner
          WHERE o.moves
            AND (o.kind <> 'multirange' OR current_setting('server_version_num')::integer < 170000)
          ORDER BY o.classid, o.objid) AS s;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.adoption_statements(text) FROM PUBLIC;

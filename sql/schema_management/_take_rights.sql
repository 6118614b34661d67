-- Takes from others what they have on an object of the tenant's owner role that reads or writes past its policies, and
-- remembers it: rights are [{grantee, privilege, grantable}...], of which those that are not there are remembered only.
-- A right on a column goes with that on the table. We are a member of the owner role. Of what a tenant gives to
-- thousands of roles the first two thousand rights are remembered, and nothing of those to whom its grants are, since
-- these say at each time what they get.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._take_rights(tenant edu_matrix_hub_schema.tenant_schemas, object oid,
                                                              of_routine boolean, rights jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    grantees text;
    others   jsonb;
BEGIN
    SELECT string_agg(DISTINCT CASE r.oid WHEN 0 THEN 'PUBLIC' ELSE quote_ident(g.rolname) END, ', ') INTO grantees
    FROM (SELECT (e.value ->> 'grantee')::oid AS oid FROM jsonb_array_elements(rights) AS e (value)) AS r
    LEFT JOIN pg_roles AS g ON g.oid = r.oid
    WHERE r.oid = 0 OR g.oid IS NOT NULL;
    EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', edu_matrix_hub_schema._object_name(object, of_routine),
                   grantees);
    SELECT coalesce(jsonb_agg(e.value), '[]') INTO others FROM jsonb_array_elements(rights) AS e (value)
    WHERE of_routine OR NOT edu_matrix_hub_schema._is_grantee(tenant.id, (e.value ->> 'grantee')::oid);
    INSERT INTO edu_matrix_hub_schema.row_security_objects AS o (schema_id, object_oid, is_routine, taken)
    VALUES (tenant.id, object, of_routine, others)
    ON CONFLICT (schema_id, object_oid, is_routine) DO UPDATE
    SET taken = (SELECT coalesce(jsonb_agg(u.value), '[]')
                 FROM (SELECT e.value FROM jsonb_array_elements(coalesce(o.taken, '[]')) AS e (value)
                       UNION
                       SELECT e.value FROM jsonb_array_elements(EXCLUDED.taken) AS e (value)
                       LIMIT 2000) AS u);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._take_rights(edu_matrix_hub_schema.tenant_schemas, oid, boolean, jsonb)
    FROM PUBLIC;

-- Gives rights back, to those of the roles that are still there and have no grant of the tenant's by now, and forgets
-- that they were taken.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._give_rights(tenant edu_matrix_hub_schema.tenant_schemas, object oid,
                                                              of_routine boolean, rights jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT r.grantable, string_agg(r.privilege, ', ') AS privileges, r.grantee
        FROM (SELECT DISTINCT (e.value ->> 'grantable')::boolean AS grantable, e.value ->> 'privilege' AS privilege,
                     CASE e.value ->> 'grantee' WHEN '0' THEN 'PUBLIC' ELSE quote_ident(g.rolname) END AS grantee,
                     (e.value ->> 'grantee')::oid AS oid
              FROM jsonb_array_elements(rights) AS e (value)
              LEFT JOIN pg_roles AS g ON g.oid = (e.value ->> 'grantee')::oid) AS r
        WHERE r.grantee IS NOT NULL
          AND (of_routine OR NOT edu_matrix_hub_schema._is_grantee(tenant.id, r.oid))
        GROUP BY r.grantable, r.grantee
    LOOP
        EXECUTE format('GRANT %s ON %s TO %s%s', part.privileges,
                       edu_matrix_hub_schema._object_name(object, of_routine), part.grantee,
                       CASE WHEN part.grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;
    INSERT INTO edu_matrix_hub_schema.row_security_objects AS o (schema_id, object_oid, is_routine)
    VALUES (tenant.id, object, of_routine)
    ON CONFLICT (schema_id, object_oid, is_routine) DO UPDATE SET taken = NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._give_rights(edu_matrix_hub_schema.tenant_schemas, oid, boolean, jsonb)
    FROM PUBLIC;

-- A table, view or routine as GRANT takes it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._object_name(object oid, of_routine boolean) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT CASE WHEN of_routine THEN 'ROUTINE ' || edu_matrix_hub_schema._routine_name(object)
                ELSE (SELECT format('TABLE %I.%I', n.nspname, c.relname)
                      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = object) END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._object_name(oid, boolean) FROM PUBLIC;

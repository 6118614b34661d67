-- The grants by which others than the operator write to a tenant without being members of its writer or owner role:
-- rights to change its tables, views and sequences, or columns of them, and EXECUTE on functions that run with the
-- owner's rights, also of the owner's in other schemas. With them a reader writes, or everybody. A deleter may delete.
-- Who has TRIGGER puts code where the server deletes as the owner, and who has MAINTAIN, from PostgreSQL 17 on, runs
-- that of indexes and materialized views as the owner.
-- What a grantee has on tables and columns is not among them: while writes are taken, the tenant's grants give no role
-- a write (see tenant_grant_targets), and what is left is taken as what no grant says, by hand or not (see _acl_drift).
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._open_grants(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS TABLE (kind text, oid oid, attnum smallint, name text, privilege text, grantee oid, grantable boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH relation AS MATERIALIZED (
        SELECT c.oid, c.relkind, c.relacl, format('%I.%I', tenant.schema_name, c.relname) AS name
        FROM pg_depend AS d
        JOIN pg_class AS c ON c.oid = d.objid
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = tenant.schema_oid
          AND d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          AND c.relowner = tenant.owner_role_oid
    ), granted AS (
        SELECT CASE r.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, r.oid, 0::smallint AS attnum, r.name,
               a.privilege_type, a.grantee, a.is_grantable
        FROM relation AS r CROSS JOIN LATERAL aclexplode(r.relacl) AS a
        WHERE a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN')
           OR r.relkind = 'S' AND a.privilege_type = 'USAGE'
        UNION ALL
        SELECT 'TABLE', r.oid, t.attnum, r.name, format('%s (%I)', a.privilege_type, t.attname), a.grantee,
               a.is_grantable
        FROM relation AS r
        JOIN pg_attribute AS t ON t.attrelid = r.oid AND t.attacl IS NOT NULL AND NOT t.attisdropped
        CROSS JOIN LATERAL aclexplode(t.attacl) AS a
        WHERE a.privilege_type IN ('INSERT', 'UPDATE')
        UNION ALL
        SELECT 'ROUTINE', p.oid, 0, edu_matrix_hub_schema._routine_name(p.oid), a.privilege_type, a.grantee,
               a.is_grantable
        FROM pg_shdepend AS s
        JOIN pg_proc AS p ON p.oid = s.objid AND p.prosecdef
        CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = tenant.owner_role_oid AND s.deptype = 'o'
          AND s.classid = 'pg_proc'::regclass
          AND s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    )
    SELECT g.* FROM granted AS g
    WHERE g.grantee NOT IN (tenant.owner_role_oid, tenant.writer_role_oid)
      AND (g.kind = 'ROUTINE' OR NOT edu_matrix_hub_schema._is_grantee(tenant.id, g.grantee))
      AND NOT (g.privilege_type = 'DELETE'
               AND g.grantee = (SELECT t.deleter_role_oid FROM edu_matrix_hub_schema.tenant_schemas AS t
                                WHERE t.id = tenant.id AND t.deleter_role_oid IS NOT NULL))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._open_grants(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Takes these grants, 500 in one call, and remembers them in `taken_grants`. The tenant decides what they are on, and a
-- session of its own may hold one of them, so what fails is left: the first that still stands is returned with the
-- statement, {count, name, statement}, or null.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._take_grants(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET client_min_messages = error
AS $function$
DECLARE
    former CONSTANT text := current_setting('lock_timeout');
    -- A session that holds an object costs the others no more than this.
    give_up CONSTANT timestamptz := clock_timestamp() + interval '2 seconds';
    granted record;
    taken   jsonb := '[]'::jsonb;
BEGIN
    IF NOT EXISTS (SELECT FROM edu_matrix_hub_schema._open_grants(tenant)) THEN
        RETURN NULL;
    END IF;
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
    PERFORM set_config('lock_timeout', '100ms', true);
    FOR granted IN SELECT * FROM edu_matrix_hub_schema._open_grants(tenant) AS g ORDER BY g.oid LIMIT 500 LOOP
        EXIT WHEN clock_timestamp() > give_up;
        BEGIN
            EXECUTE format('REVOKE %s ON %s %s FROM %s CASCADE', granted.privilege, granted.kind, granted.name,
                           CASE granted.grantee WHEN 0 THEN 'PUBLIC'
                                ELSE quote_ident(pg_get_userbyid(granted.grantee)) END);
            taken := taken || jsonb_build_object(
                'kind', granted.kind, 'oid', granted.oid::bigint, 'attnum', granted.attnum, 'grantable',
                granted.grantable, 'privilege', split_part(granted.privilege, ' ', 1),
                'grantee', granted.grantee::bigint);
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR lock_not_available
                       OR internal_error OR undefined_object THEN
            CONTINUE;
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', former, true);
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET taken_grants = coalesce(t.taken_grants, '[]') || taken
    WHERE t.id = tenant.id;
    RETURN (SELECT jsonb_build_object(
                'count', count(*), 'name', min(g.name),
                'statement', min(format('REVOKE %s ON %s %s FROM %s CASCADE', g.privilege, g.kind, g.name,
                                        CASE g.grantee WHEN 0 THEN 'PUBLIC'
                                             ELSE quote_ident(pg_get_userbyid(g.grantee)) END)))
            FROM edu_matrix_hub_schema._open_grants(tenant) AS g HAVING count(*) > 0);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._take_grants(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Gives these grants back, with the owner as who gives them; what is gone by now, or does not belong to the tenant any
-- more, gets nothing. A role that has a grant of the tenant's by now has what that says. What is on something that
-- passes required policies comes back when that is safe (see _give_rights).
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._give_back_grants(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET client_min_messages = error
AS $function$
DECLARE
    granted record;
BEGIN
    IF tenant.taken_grants IS NULL OR tenant.taken_grants = '[]' THEN
        RETURN;
    END IF;
    UPDATE edu_matrix_hub_schema.row_security_objects AS o
    SET taken = o.taken || t.rights
    FROM (SELECT g.oid, g.kind = 'ROUTINE' AS is_routine,
                 jsonb_agg(jsonb_build_object(
                     'grantee', g.grantee::bigint, 'grantable', g.grantable,
                     'privilege', g.privilege || coalesce(' (' || quote_ident(a.attname) || ')', ''))) AS rights
          FROM jsonb_to_recordset(tenant.taken_grants) AS g (kind text, oid oid, attnum smallint, privilege text,
                                                             grantee oid, grantable boolean)
          LEFT JOIN pg_attribute AS a ON g.kind = 'TABLE' AND a.attrelid = g.oid AND a.attnum = g.attnum
                                     AND g.attnum > 0 AND NOT a.attisdropped
          WHERE g.attnum = 0 OR a.attname IS NOT NULL
          GROUP BY g.oid, g.kind = 'ROUTINE') AS t
    WHERE o.schema_id = tenant.id AND o.object_oid = t.oid AND o.is_routine = t.is_routine AND o.taken IS NOT NULL;
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
    FOR granted IN
        SELECT g.kind, g.grantable, coalesce(quote_ident(r.rolname), 'PUBLIC') AS grantee,
               g.privilege || coalesce(' (' || quote_ident(t.attname) || ')', '') AS privilege,
               CASE g.kind WHEN 'ROUTINE' THEN edu_matrix_hub_schema._routine_name(p.oid)
                           ELSE format('%I.%I', n.nspname, c.relname) END AS name
        FROM jsonb_to_recordset(tenant.taken_grants) AS g (kind text, oid oid, attnum smallint, privilege text,
                                                           grantee oid, grantable boolean)
        LEFT JOIN pg_roles AS r ON r.oid = g.grantee
        LEFT JOIN pg_class AS c ON g.kind <> 'ROUTINE' AND c.oid = g.oid AND c.relowner = tenant.owner_role_oid
        LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute AS t ON t.attrelid = c.oid AND t.attnum = g.attnum AND g.attnum > 0
        LEFT JOIN pg_proc AS p ON g.kind = 'ROUTINE' AND p.oid = g.oid AND p.proowner = tenant.owner_role_oid
        WHERE (r.oid IS NOT NULL OR g.grantee = 0) AND (c.oid IS NOT NULL OR p.oid IS NOT NULL)
          AND (g.attnum = 0 OR t.attname IS NOT NULL AND NOT t.attisdropped)
          AND (g.kind = 'ROUTINE' OR NOT edu_matrix_hub_schema._is_grantee(tenant.id, g.grantee))
          AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.row_security_objects AS o
                          WHERE o.schema_id = tenant.id AND o.object_oid = g.oid
                            AND o.is_routine = (g.kind = 'ROUTINE') AND o.taken IS NOT NULL)
    LOOP
        BEGIN
            EXECUTE format('GRANT %s ON %s %s TO %s', granted.privilege, granted.kind, granted.name, granted.grantee)
                    || CASE WHEN granted.grantable THEN ' WITH GRANT OPTION' ELSE '' END;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR undefined_object THEN
            CONTINUE;
        END;
    END LOOP;
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._give_back_grants(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

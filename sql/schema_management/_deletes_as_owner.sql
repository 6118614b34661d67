-- The tables and views of a tenant from which a delete would run code with the rights of its owner role, so that who
-- may delete would write, by what the tenant prepared before:
--
--   a trigger of the delete whose function is SECURITY DEFINER, also one of a partition or child
--   a rule, whose commands have the rights of who made it
--   a foreign key that deletes, or sets to null or its default, rows of a table that has any trigger or rule itself,
--     and so on from there: the server does that as the owner of that table; and if it changes rows, also an
--     expression of that table's that calls a function of the owner's
--   what is under a view
--
-- One that may be harmless counts as well: its rows go by deleting first those that refer to them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._deletes_as_owner(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS TABLE (oid oid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH RECURSIVE own AS MATERIALIZED (
        SELECT c.oid, c.relkind
        FROM pg_shdepend AS s
        JOIN pg_class AS c ON c.oid = s.objid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = tenant.owner_role_oid AND s.deptype = 'o'
          AND s.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'f')
          AND s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    ), hooked AS MATERIALIZED (
        -- 8 is the bit of DELETE.
        SELECT t.tgrelid AS oid, bool_or(p.prosecdef AND t.tgtype::integer & 8 > 0) AS directly
        FROM own AS o
        JOIN pg_trigger AS t ON t.tgrelid = o.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
        JOIN pg_proc AS p ON p.oid = t.tgfoid
        GROUP BY t.tgrelid
        UNION ALL
        SELECT r.ev_class, true FROM own AS o JOIN pg_rewrite AS r ON r.ev_class = o.oid
        WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
    ), keys AS MATERIALIZED (
        SELECT k.confrelid AS parent, k.conrelid AS child,
               k.confdeltype IN ('c', 'n', 'd') AS follows_delete, k.confdeltype IN ('n', 'd') AS changes
        FROM own AS o
        JOIN pg_constraint AS k ON k.conrelid = o.oid AND k.contype = 'f'
        WHERE k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd')
    ), calls AS MATERIALIZED (
        SELECT x.child
        FROM (SELECT DISTINCT k.child FROM keys AS k) AS x
        WHERE EXISTS (
            SELECT
            FROM (SELECT 'pg_constraint'::regclass AS classid, c.oid FROM pg_constraint AS c
                  WHERE c.conrelid = x.child
                  UNION ALL SELECT 'pg_attrdef'::regclass, f.oid FROM pg_attrdef AS f WHERE f.adrelid = x.child
                  UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index AS i WHERE i.indrelid = x.child
                  UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_attribute AS a
                            JOIN pg_constraint AS c ON c.contypid = a.atttypid
                            WHERE a.attrelid = x.child AND a.attnum > 0) AS e
            JOIN pg_depend AS d ON d.classid = e.classid AND d.objid = e.oid
            LEFT JOIN pg_operator AS p ON d.refclassid = 'pg_operator'::regclass AND p.oid = d.refobjid
            JOIN pg_proc AS f ON f.oid = CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid ELSE p.oprcode END
            WHERE f.proowner = tenant.owner_role_oid)
    ), edges AS MATERIALIZED (
        -- From what runs code to what leads there: directly, by who deletes, or by the server as the owner.
        SELECT k.child AS lower, true AS lower_is_owner, k.parent AS upper, u.is_owner AS upper_is_owner
        FROM keys AS k
        CROSS JOIN (VALUES (false), (true)) AS u (is_owner)
        WHERE k.follows_delete OR u.is_owner
        UNION ALL
        SELECT i.inhrelid, m.is_owner, i.inhparent, m.is_owner
        FROM own AS o
        JOIN pg_inherits AS i ON i.inhrelid = o.oid
        CROSS JOIN (VALUES (false), (true)) AS m (is_owner)
        UNION ALL
        SELECT d.refobjid, m.is_owner, r.ev_class, m.is_owner
        FROM own AS o
        JOIN pg_rewrite AS r ON r.ev_class = o.oid AND o.relkind = 'v'
        JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                           AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
        CROSS JOIN (VALUES (false), (true)) AS m (is_owner)
    ), found AS (
        SELECT h.oid, m.is_owner FROM hooked AS h CROSS JOIN (VALUES (false), (true)) AS m (is_owner)
        WHERE h.directly OR m.is_owner
        UNION
        SELECT k.parent, m.is_owner
        FROM keys AS k JOIN calls AS c ON c.child = k.child CROSS JOIN (VALUES (false), (true)) AS m (is_owner)
        WHERE k.changes OR m.is_owner
        UNION
        SELECT e.upper, e.upper_is_owner
        FROM found AS f JOIN edges AS e ON e.lower = f.oid AND e.lower_is_owner = f.is_owner
    )
    SELECT f.oid FROM found AS f WHERE NOT f.is_owner
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._deletes_as_owner(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Takes DELETE on these from the role that deletes while writes are blocked, after the sessions of the tenant's owner
-- were ended. Returns on how many tables and views nobody may delete for that, and the first, {count, name}, or null.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._take_deletes(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    name    CONSTANT text := edu_matrix_hub_schema._deleter_name(tenant);
    number  CONSTANT oid := (SELECT t.deleter_role_oid FROM edu_matrix_hub_schema.tenant_schemas AS t
                             WHERE t.id = tenant.id);
    former  CONSTANT text := current_setting('lock_timeout');
    give_up CONSTANT timestamptz := clock_timestamp() + interval '2 seconds';
    told    jsonb;
    single  text;
    granted text[];
BEGIN
    SELECT jsonb_build_object('count', count(*), 'name', min(o.name)),
           coalesce(array_agg(o.name) FILTER (WHERE o.is_granted), '{}')
    INTO told, granted
    FROM (SELECT format('%I.%I', tenant.schema_name, c.relname) AS name,
                 EXISTS (SELECT FROM aclexplode(c.relacl) AS a
                         WHERE a.grantee = number AND a.privilege_type = 'DELETE') AS is_granted
          FROM edu_matrix_hub_schema._deletes_as_owner(tenant) AS d
          JOIN pg_class AS c ON c.oid = d.oid AND c.relnamespace = tenant.schema_oid
          WHERE EXISTS (SELECT FROM aclexplode(c.relacl) AS a
                        WHERE a.grantee IN (tenant.writer_role_oid, number) AND a.privilege_type = 'DELETE')) AS o;
    IF granted <> '{}' THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
        PERFORM set_config('lock_timeout', '100ms', true);
        FOREACH single IN ARRAY granted LOOP
            EXIT WHEN clock_timestamp() > give_up;
            BEGIN
                EXECUTE format('REVOKE DELETE ON TABLE %s FROM %I', single, name);
            EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR lock_not_available
                           OR internal_error THEN
                NULL;
            END;
        END LOOP;
        PERFORM set_config('lock_timeout', former, true);
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
    END IF;
    RETURN CASE WHEN (told ->> 'count')::bigint > 0 THEN told END;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._take_deletes(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

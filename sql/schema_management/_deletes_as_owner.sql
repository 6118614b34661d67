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
-- One that may be harmless counts as well: its rows go by deleting first those that refer to them. A tenant may chain
-- any number of tables: fifty steps are followed, and if there are more, every table that a chain leads to counts.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._deletes_as_owner(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS TABLE (oid oid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
-- Whole catalogues would be read for each table.
SET enable_seqscan = off
SET jit = off
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
    ), code AS MATERIALIZED (
        -- What uses a function or operator of the owner's: constraints, defaults, indexes and keys of partitions.
        SELECT d.classid, d.objid, k.conrelid, k.contypid
        FROM pg_shdepend AS s
        JOIN pg_depend AS d ON d.refclassid = s.classid AND d.refobjid = s.objid
                           AND d.classid IN ('pg_constraint'::regclass, 'pg_attrdef'::regclass, 'pg_class'::regclass)
        LEFT JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = tenant.owner_role_oid AND s.deptype = 'o'
          AND s.classid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
          AND s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    ), calls AS MATERIALIZED (
        SELECT c.conrelid AS child FROM code AS c WHERE c.conrelid <> 0
        UNION SELECT c.objid FROM code AS c WHERE c.classid = 'pg_class'::regclass
        UNION SELECT i.indrelid FROM code AS c
              JOIN pg_index AS i ON c.classid = 'pg_class'::regclass AND i.indexrelid = c.objid
        UNION SELECT f.adrelid FROM code AS c
              JOIN pg_attrdef AS f ON c.classid = 'pg_attrdef'::regclass AND f.oid = c.objid
        UNION
        -- A domain may be under others, and in arrays and rows: if there is one, each type of the owner's may have it.
        SELECT d.objid
        FROM pg_shdepend AS s
        JOIN pg_type AS t ON t.oid = s.objid
        JOIN pg_depend AS d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)
                           AND d.classid = 'pg_class'::regclass
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = tenant.owner_role_oid AND s.deptype = 'o'
          AND s.classid = 'pg_type'::regclass
          AND s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
          AND EXISTS (SELECT FROM code AS c WHERE c.contypid <> 0)
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
        SELECT h.oid, m.is_owner, 0 AS depth
        FROM hooked AS h CROSS JOIN (VALUES (false), (true)) AS m (is_owner)
        WHERE h.directly OR m.is_owner
        UNION
        SELECT k.parent, m.is_owner, 0
        FROM keys AS k JOIN calls AS c ON c.child = k.child CROSS JOIN (VALUES (false), (true)) AS m (is_owner)
        WHERE k.changes OR m.is_owner
        UNION
        SELECT e.upper, e.upper_is_owner, f.depth + 1
        FROM found AS f JOIN edges AS e ON e.lower = f.oid AND e.lower_is_owner = f.is_owner
        WHERE f.depth < 50
    ), nearest AS MATERIALIZED (
        SELECT f.oid, f.is_owner, min(f.depth) AS depth FROM found AS f GROUP BY f.oid, f.is_owner
    )
    SELECT n.oid FROM nearest AS n WHERE NOT n.is_owner
    UNION
    SELECT e.upper FROM edges AS e
    WHERE NOT e.upper_is_owner AND EXISTS (SELECT FROM nearest AS n WHERE n.depth = 50)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._deletes_as_owner(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Takes DELETE on these from the role that deletes while writes are blocked, after the sessions of the tenant's owner
-- were ended. Returns on how many tables and views that is so, and the first, {count, name}, or null.
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

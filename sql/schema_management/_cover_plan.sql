-- What differs between what tenants ask for in row-level security and what the catalogue has, one row for each table,
-- view or function at which there is something to do, and what stays open. It reads only; _cover_tables does what it
-- says, and the survey asks whether there is anything.
--
--   secure    a table gets the policies in `detail`, [{key, policy, digest, column, command, roles, tests, permissive}
--             ...]; those of ours that it has and that are not there go. Where there are none, so does what we turned
--             on
--   take      others lose `detail`, [{grantee, privilege, grantable}...], on what reads or writes past the policies
--   give      others get `detail`: what was taken of something that is safe now, or what a new object is due
--   note      an object of before `Required`, or one that was never open, is known from now on
--   forget    what is known of an object that is gone
--   open      nothing to do: `what` reads or writes past the policies, or cannot be secured; `statement` closes it
--   forced    nothing to do: the owner of this table is bound by its policies too, since a tenant said FORCE
--   covered   nothing to do: the number of tables with policies is in `detail`
--
-- A table is secured while a policy of the spec names it or it has the column; so are partitions and children of one
-- that is named. One that we secured stays so under another name, or when its column gets another name, until that
-- policy of the spec is changed or removed: a rename opens nothing.
--
-- Each policy of the spec becomes restrictive policies, since a permissive one of the tenant's own would open all rows
-- beside permissive ones of ours. As restrictive policies let nothing in by themselves, there is a permissive one
-- besides. It has the tests that hold for every role and command, so that a user who drops the others finds no open
-- table. Where the tenant has permissive policies of its own, or turned row-level security on itself, it is left out,
-- for it would let in what the tenant keeps out.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cover_plan(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, action text, object_oid oid, is_routine boolean, name text, what text, statement text,
               detail jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE tenant AS MATERIALIZED (
        SELECT t.id, t.schema_name, t.schema_oid, t.owner_role, t.reader_role, t.writer_role, t.owner_role_oid,
               t.reader_role_oid, t.writer_role_oid, t.taken_members IS NOT NULL AS is_blocked, t.deleter_role_oid,
               s.mode, s.policies, s.word, t.kept_role_oids
        FROM edu_matrix_hub_schema.tenant_row_security AS s
        JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = s.schema_id AND t.status IN ('active', 'suspended')
        JOIN pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
        WHERE s.schema_id = ANY ($1)
    ), policy AS MATERIALIZED (
        SELECT t.id, p.value ->> 'name' AS policy, p.value ->> 'column' AS column_name,
               p.value ->> 'setting' AS setting,
               CASE WHEN p.value ? 'tables' THEN ARRAY(SELECT jsonb_array_elements_text(p.value -> 'tables')) END
                   AS tables,
               CASE WHEN p.value ? 'commands' THEN ARRAY(SELECT jsonb_array_elements_text(p.value -> 'commands'))
                    ELSE '{*}' END AS commands,
               CASE WHEN NOT p.value ? 'roles' THEN '{0}'
                    -- While writes are taken, who was a writer reads as a reader, and deletes as the deleter.
                    WHEN p.value -> 'roles' ? 'writer' AND t.is_blocked
                        THEN array_remove(ARRAY[t.reader_role_oid, t.writer_role_oid, t.deleter_role_oid], NULL)
                    ELSE ARRAY(
                        SELECT CASE r.name WHEN 'writer' THEN t.writer_role_oid ELSE t.reader_role_oid END
                        FROM jsonb_array_elements_text(p.value -> 'roles') AS r (name) ORDER BY 1)
                    END::oid[] AS roles,
               md5(p.value::text) AS digest
        FROM tenant AS t CROSS JOIN LATERAL jsonb_array_elements(t.policies) AS p (value)
        WHERE t.mode IS NOT NULL
    ), relation AS MATERIALIZED (
        SELECT t.id, c.oid, c.relname, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity, c.relacl,
               c.reloptions, format('%I.%I', t.schema_name, c.relname) AS full_name,
               c.relowner = t.owner_role_oid AS is_own
        FROM tenant AS t
        CROSS JOIN LATERAL edu_matrix_hub_schema._objects_of(t.schema_oid) AS o
        JOIN pg_class AS c ON c.oid = o.object_oid
        WHERE NOT o.is_routine
    ), routine AS MATERIALIZED (
        SELECT t.id, p.oid, p.prosecdef, p.proacl, p.proowner, p.prorettype, p.proowner = t.owner_role_oid AS is_own
        FROM tenant AS t
        CROSS JOIN LATERAL edu_matrix_hub_schema._objects_of(t.schema_oid) AS o
        JOIN pg_proc AS p ON p.oid = o.object_oid
        WHERE o.is_routine
    ), known AS MATERIALIZED (
        SELECT o.* FROM edu_matrix_hub_schema.row_security_objects AS o
        WHERE o.schema_id IN (SELECT t.id FROM tenant AS t)
    ), family (id, policy, oid) AS (
        SELECT p.id, p.policy, r.oid FROM policy AS p JOIN relation AS r ON r.id = p.id AND r.relname = ANY (p.tables)
        UNION
        SELECT f.id, f.policy, i.inhrelid FROM family AS f JOIN pg_inherits AS i ON i.inhparent = f.oid
    ), kept AS MATERIALIZED (
        -- What we secured before, whatever it is called now.
        SELECT p.id, p.policy, k.object_oid AS oid, max((e.value ->> 'column')::smallint) AS attnum
        FROM known AS k
        CROSS JOIN LATERAL jsonb_array_elements(k.policies) AS e (value)
        JOIN policy AS p ON p.id = k.schema_id AND p.policy = e.value ->> 'policy' AND p.digest = e.value ->> 'digest'
        GROUP BY p.id, p.policy, k.object_oid
    ), matched AS MATERIALIZED (
        SELECT m.id, m.policy, m.oid, max(m.attnum) AS attnum, bool_or(m.is_named) AS is_named
        FROM (SELECT p.id, p.policy, r.oid, a.attnum, false AS is_named
              FROM policy AS p
              JOIN relation AS r ON r.id = p.id AND r.relkind IN ('r', 'p', 'f')
              JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attname = p.column_name AND a.attnum > 0
                                    AND NOT a.attisdropped
              WHERE p.tables IS NULL
              UNION ALL
              SELECT p.id, p.policy, f.oid, a.attnum, true
              FROM family AS f
              JOIN policy AS p ON p.id = f.id AND p.policy = f.policy
              LEFT JOIN pg_attribute AS a ON a.attrelid = f.oid AND a.attname = p.column_name AND a.attnum > 0
                                         AND NOT a.attisdropped
              UNION ALL
              SELECT k.id, k.policy, k.oid, a.attnum, false
              FROM kept AS k
              JOIN pg_attribute AS a ON a.attrelid = k.oid AND a.attnum = k.attnum AND NOT a.attisdropped
              JOIN policy AS p ON p.id = k.id AND p.policy = k.policy
              WHERE NOT EXISTS (SELECT FROM pg_attribute AS b
                                WHERE b.attrelid = k.oid AND b.attname = p.column_name AND b.attnum > 0
                                  AND NOT b.attisdropped)) AS m
        GROUP BY m.id, m.policy, m.oid
    ), judged AS MATERIALIZED (
        SELECT m.id, m.oid, m.policy, p.digest, p.commands, p.roles, m.attnum, o.full_name, w.problem, w.statement,
               r.relrowsecurity,
               jsonb_build_array(a.attname, a.atttypid::bigint, p.setting) AS test,
               md5(concat_ws('|', m.attnum, a.atttypid, p.setting)) AS test_key
        FROM matched AS m
        JOIN policy AS p ON p.id = m.id AND p.policy = m.policy
        JOIN tenant AS t ON t.id = m.id
        JOIN pg_class AS r ON r.oid = m.oid AND r.relnamespace = t.schema_oid
        CROSS JOIN LATERAL (SELECT format('%I.%I', t.schema_name, r.relname) AS full_name,
                                   r.relowner = t.owner_role_oid AS is_own) AS o
        LEFT JOIN pg_attribute AS a ON a.attrelid = m.oid AND a.attnum = m.attnum
        CROSS JOIN LATERAL (
            SELECT CASE
                       WHEN r.relkind = 'f' THEN format('%s is a foreign table and can have no policies', o.full_name)
                       WHEN r.relkind NOT IN ('r', 'p') THEN format('%s is no table', o.full_name)
                       WHEN NOT o.is_own THEN format('table %s belongs to role "%s"', o.full_name,
                                                     pg_get_userbyid(r.relowner))
                       WHEN a.attnum IS NULL THEN format('table %s has no column "%s"', o.full_name, p.column_name)
                       WHEN a.atttypid NOT IN (2950, 20, 21, 23, 25, 1043) THEN
                           format('column "%s" of table %s is of type %s, and not uuid, smallint, integer, bigint, '
                                  'text or varchar', a.attname, o.full_name, format_type(a.atttypid, NULL))
                   END AS problem,
                   CASE
                       WHEN r.relkind NOT IN ('r', 'p') THEN NULL
                       WHEN NOT o.is_own THEN format('ALTER TABLE %s OWNER TO %I', o.full_name, t.owner_role)
                   END AS statement
        ) AS w
    ), ours AS MATERIALIZED (
        -- Our policies that stand, and whether they are as they were made.
        SELECT k.schema_id AS id, k.object_oid AS oid, l.oid AS policy_oid, e.value ->> 'key' AS key,
               l.xmin::text = e.value ->> 'mark' AS is_sound
        FROM known AS k
        CROSS JOIN LATERAL jsonb_array_elements(k.policies) AS e (value)
        JOIN pg_policy AS l ON l.oid = (e.value ->> 'oid')::oid AND l.polrelid = k.object_oid
    ), standing AS MATERIALIZED (
        -- All policies on the tables that these are about, and on those that may have some of ours of a former life.
        SELECT r.id, r.oid,
               bool_or(l.polpermissive AND o.policy_oid IS NULL AND NOT starts_with(l.polname::text, t.word))
                   AS has_own,
               bool_or(o.policy_oid IS NULL AND starts_with(l.polname::text, t.word)) AS has_left,
               bool_or(o.policy_oid IS NULL AND starts_with(l.polname::text, t.word) AND l.polpermissive) AS was_ours
        FROM relation AS r
        JOIN tenant AS t ON t.id = r.id
        JOIN pg_policy AS l ON l.polrelid = r.oid
        LEFT JOIN ours AS o ON o.oid = r.oid AND o.policy_oid = l.oid
        GROUP BY r.id, r.oid
    ), wanted AS MATERIALIZED (
        SELECT j.id, j.oid, md5(concat_ws('|', 'R', j.digest, c.command, j.roles::text, j.test_key)) AS key,
               j.policy, j.digest, j.attnum, c.command, j.roles, jsonb_build_array(j.test) AS tests,
               false AS permissive
        FROM judged AS j CROSS JOIN LATERAL unnest(j.commands) AS c (command)
        WHERE j.problem IS NULL
        UNION ALL
        SELECT j.id, j.oid, md5(concat_ws('|', 'P', string_agg(j.test_key, '|' ORDER BY j.test_key)
                                          FILTER (WHERE j.commands = '{*}' AND j.roles = '{0}'))),
               NULL, NULL, NULL, '*', '{0}',
               coalesce(jsonb_agg(j.test ORDER BY j.test_key)
                        FILTER (WHERE j.commands = '{*}' AND j.roles = '{0}'), '[]'), true
        FROM judged AS j
        LEFT JOIN standing AS s ON s.id = j.id AND s.oid = j.oid
        LEFT JOIN known AS k ON k.schema_id = j.id AND k.object_oid = j.oid AND NOT k.is_routine
        WHERE j.problem IS NULL AND s.has_own IS NOT TRUE
          AND (NOT j.relrowsecurity OR k.enabled IS TRUE OR s.was_ours IS TRUE)
        GROUP BY j.id, j.oid
    ), goal AS MATERIALIZED (
        SELECT w.id, w.oid, array_agg(w.key ORDER BY w.key) AS keys,
               jsonb_agg(jsonb_build_object('key', w.key, 'policy', w.policy, 'digest', w.digest, 'column', w.attnum,
                                            'command', w.command, 'roles', w.roles::bigint[], 'tests', w.tests,
                                            'permissive', w.permissive) ORDER BY w.key) AS policies
        FROM wanted AS w GROUP BY w.id, w.oid
    ), present AS MATERIALIZED (
        SELECT k.schema_id AS id, k.object_oid AS oid,
               array_agg(o.key ORDER BY o.key) FILTER (WHERE o.is_sound) AS keys,
               count(o.policy_oid) AS standing, true AS is_known
        FROM known AS k LEFT JOIN ours AS o ON o.id = k.schema_id AND o.oid = k.object_oid
        WHERE NOT k.is_routine AND k.policies <> '[]'
        GROUP BY k.schema_id, k.object_oid, k.policies
    ), table_plan AS MATERIALIZED (
        SELECT r.id, r.oid, r.full_name, coalesce(g.policies, '[]') AS policies, g.oid IS NOT NULL AS is_wanted,
               CASE WHEN g.oid IS NULL THEN format('table %s has policies that the spec does not ask for', r.full_name)
                    WHEN NOT r.relrowsecurity THEN format('row-level security of table %s is off', r.full_name)
                    WHEN p.is_known IS NULL THEN format('table %s has no policies', r.full_name)
                    ELSE format('policies of table %s are not as they were made', r.full_name) END AS what,
               CASE WHEN g.oid IS NULL THEN p.is_known OR s.has_left
                    ELSE NOT r.relrowsecurity OR g.keys IS DISTINCT FROM p.keys OR s.has_left
                         OR p.standing <> cardinality(g.keys)
               END AS is_due
        FROM relation AS r
        LEFT JOIN goal AS g ON g.id = r.id AND g.oid = r.oid
        LEFT JOIN present AS p ON p.id = r.id AND p.oid = r.oid
        LEFT JOIN standing AS s ON s.id = r.id AND s.oid = r.oid
        WHERE r.relkind IN ('r', 'p') AND r.is_own AND (g.oid IS NOT NULL OR p.is_known OR s.has_left)
    ), reached (id, oid) AS (
        -- What reads or writes the tables that policies are about, over any number of views and rules.
        SELECT DISTINCT j.id, j.oid FROM judged AS j
        UNION
        SELECT r.id, u.ev_class
        FROM reached AS r
        JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid
                           AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite AS u ON u.oid = d.objid AND u.ev_class <> r.oid
    ), unsafe AS MATERIALIZED (
        SELECT r.id, r.oid, false AS is_routine, 'TABLE ' || r.full_name AS label, r.is_own, r.relacl AS acl,
               CASE WHEN r.relkind = 'v' THEN format('view %s reads with the rights of its owner', r.full_name)
                    WHEN r.relkind = 'm' THEN format('materialized view %s keeps rows of all', r.full_name)
                    ELSE format('a rule of table %s acts with the rights of its owner', r.full_name) END AS what,
               CASE WHEN r.relkind = 'v' THEN format('ALTER VIEW %s SET (security_invoker = true)', r.full_name)
                    ELSE format('REVOKE ALL ON TABLE %s FROM PUBLIC, %I, %I', r.full_name, t.reader_role,
                                t.writer_role) END AS statement
        FROM reached AS e
        JOIN relation AS r ON r.id = e.id AND r.oid = e.oid
        JOIN tenant AS t ON t.id = r.id
        WHERE CASE r.relkind
                  WHEN 'm' THEN true
                  WHEN 'v' THEN coalesce((SELECT NOT o.option_value::boolean FROM pg_options_to_table(r.reloptions) AS o
                                          WHERE o.option_name = 'security_invoker'), true)
                                AND (r.is_own OR edu_matrix_hub_schema._passes_policies(r.relowner, t.owner_role_oid))
                  ELSE EXISTS (SELECT FROM pg_rewrite AS u
                               JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = u.oid
                                AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.oid
                               JOIN reached AS x ON x.oid = d.refobjid
                               WHERE u.ev_class = r.oid)
              END
        UNION ALL
        SELECT j.id, j.oid, false, 'TABLE ' || j.full_name, r.is_own, r.relacl, min(j.problem), min(j.statement)
        FROM judged AS j JOIN relation AS r ON r.id = j.id AND r.oid = j.oid
        WHERE j.problem IS NOT NULL
        GROUP BY j.id, j.oid, j.full_name, r.is_own, r.relacl
        UNION ALL
        SELECT f.id, f.oid, true, 'ROUTINE ' || n.name, f.is_own, coalesce(f.proacl, acldefault('f', f.proowner)),
               format('routine %s acts with the rights of its owner', n.name),
               format('ALTER ROUTINE %s SECURITY INVOKER', n.name)
        FROM routine AS f
        JOIN tenant AS t ON t.id = f.id AND t.mode IS NOT NULL AND t.policies <> '[]'
        CROSS JOIN LATERAL edu_matrix_hub_schema._routine_name(f.oid) AS n (name)
        WHERE f.prosecdef AND f.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
          AND (f.is_own OR edu_matrix_hub_schema._passes_policies(f.proowner, t.owner_role_oid))
    ), open AS MATERIALIZED (
        -- What others have on that. A tenant can give rights to every role of the server: one look takes 500 of them.
        SELECT u.id, u.oid, u.is_routine, u.label, u.is_own, u.what, u.statement, g.privileges
        FROM (SELECT DISTINCT ON (a.id, a.oid, a.is_routine) a.* FROM unsafe AS a
              ORDER BY a.id, a.oid, a.is_routine) AS u
        JOIN tenant AS t ON t.id = u.id
        CROSS JOIN LATERAL (
            SELECT jsonb_agg(jsonb_build_object('grantee', a.grantee::bigint, 'privilege', a.privilege,
                                                'grantable', a.is_grantable)) AS privileges
            FROM (SELECT x.grantee, x.privilege_type AS privilege, x.is_grantable
                  -- Concatenated with nothing it is stored plainly; aclexplode would unpack it once per row.
                  FROM aclexplode(CASE WHEN u.acl IS NOT NULL THEN u.acl || '{}'::aclitem[] END) AS x
                  WHERE x.grantee <> t.owner_role_oid
                  UNION
                  SELECT x.grantee, format('%s (%I)', x.privilege_type, c.attname), x.is_grantable
                  FROM pg_attribute AS c CROSS JOIN LATERAL aclexplode(c.attacl) AS x
                  WHERE NOT u.is_routine AND c.attrelid = u.oid AND c.attacl IS NOT NULL AND NOT c.attisdropped
                    AND x.grantee <> t.owner_role_oid
                  LIMIT 500) AS a
        ) AS g
    ), object AS MATERIALIZED (
        SELECT t.id, o.oid, o.is_routine, o.label, t.mode, k.object_oid IS NOT NULL AS is_known, k.taken,
               p.is_own AND p.privileges IS NOT NULL AS is_open, p.privileges,
               p.oid IS NOT NULL AND t.mode = 'Required' AS is_shut,
               CASE WHEN t.mode = 'Required' AND k.object_oid IS NULL AND o.is_own THEN
                   edu_matrix_hub_schema._due_rights(t.reader_role_oid, t.writer_role_oid, o.is_routine, o.acl,
                                                     t.owner_role_oid) END AS due
        FROM tenant AS t
        JOIN (SELECT r.id, r.oid, false AS is_routine, 'TABLE ' || r.full_name AS label, r.is_own, r.relacl AS acl
              FROM relation AS r
              UNION ALL
              SELECT f.id, f.oid, true, NULL, f.is_own, f.proacl FROM routine AS f) AS o ON o.id = t.id
        LEFT JOIN known AS k ON k.schema_id = o.id AND k.object_oid = o.oid AND k.is_routine = o.is_routine
        LEFT JOIN open AS p ON p.id = o.id AND p.oid = o.oid AND p.is_routine = o.is_routine
        WHERE t.mode = 'Required' AND (k.object_oid IS NULL OR k.taken IS NOT NULL OR p.oid IS NOT NULL)
           OR k.taken IS NOT NULL
    )
    SELECT p.id, 'secure', p.oid, false, p.full_name, p.what, NULL, p.policies FROM table_plan AS p WHERE p.is_due
    UNION ALL
    SELECT o.id, CASE WHEN o.is_shut AND (o.is_open OR o.due IS NOT NULL) THEN 'take'
                      WHEN o.is_shut IS NOT TRUE AND coalesce(o.taken, o.due) IS NOT NULL THEN 'give'
                      ELSE 'note' END,
           o.oid, o.is_routine, o.label,
           CASE WHEN o.is_shut THEN 'others have rights on what passes the policies'
                ELSE 'others have not what they are due' END, NULL,
           CASE WHEN o.is_shut THEN coalesce(o.privileges, '[]') || coalesce(o.due, '[]')
                ELSE coalesce(o.taken, o.due) END
    FROM object AS o
    WHERE NOT o.is_known OR o.is_shut AND o.is_open OR o.taken IS NOT NULL AND o.is_shut IS NOT TRUE
    UNION ALL
    SELECT k.schema_id, 'forget', k.object_oid, k.is_routine, NULL, 'an object is gone', NULL, NULL
    FROM known AS k
    LEFT JOIN routine AS f ON f.id = k.schema_id AND f.oid = k.object_oid AND k.is_routine
    LEFT JOIN relation AS r ON r.id = k.schema_id AND r.oid = k.object_oid AND NOT k.is_routine
    WHERE f.oid IS NULL AND r.oid IS NULL
    UNION ALL
    SELECT p.id, 'open', p.oid, p.is_routine, p.label, p.what, p.statement, NULL
    FROM open AS p
    LEFT JOIN known AS k ON k.schema_id = p.id AND k.object_oid = p.oid AND k.is_routine = p.is_routine
    WHERE p.privileges IS NOT NULL OR k.taken IS NOT NULL
    UNION ALL
    SELECT p.id, 'open', NULL, false, NULL, format('there is no table %I.%I', t.schema_name, w.name), NULL, NULL
    FROM policy AS p
    JOIN tenant AS t ON t.id = p.id
    CROSS JOIN LATERAL unnest(p.tables) AS w (name)
    WHERE NOT EXISTS (SELECT FROM relation AS r WHERE r.id = p.id AND r.relname = w.name)
    UNION ALL
    -- A column that no table has, where there are tables, may be a slip of the pen: nothing is kept by its policy.
    SELECT p.id, 'open', NULL, false, NULL,
           format('policy "%s" is on no table: none in schema %I has the column "%s"', p.policy, t.schema_name,
                  p.column_name), NULL, NULL
    FROM policy AS p
    JOIN tenant AS t ON t.id = p.id
    WHERE p.tables IS NULL AND EXISTS (SELECT FROM relation AS r WHERE r.id = p.id AND r.relkind IN ('r', 'p'))
      AND NOT EXISTS (SELECT FROM matched AS m WHERE m.id = p.id AND m.policy = p.policy)
    UNION ALL
    -- Who owned an adopted schema before is a member of its owner.
    SELECT t.id, 'open', NULL, false, NULL,
           format('role %I owned the schema before, and no policy binds it', r.rolname),
           format('SELECT * FROM edu_matrix_hub_schema.end_kept_role(%L, %L)', t.id, r.rolname), NULL
    FROM tenant AS t
    JOIN pg_roles AS r ON r.oid = ANY (t.kept_role_oids)
    WHERE t.mode IS NOT NULL AND edu_matrix_hub_schema._passes_policies(r.oid, t.owner_role_oid)
    UNION ALL
    SELECT r.id, 'forced', r.oid, false, r.full_name, NULL,
           format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', r.full_name), NULL
    FROM relation AS r WHERE r.relforcerowsecurity AND r.relkind IN ('r', 'p')
    UNION ALL
    SELECT p.id, 'covered', NULL, false, NULL, NULL, NULL, to_jsonb(count(*))
    FROM table_plan AS p WHERE p.is_wanted AND NOT p.is_due GROUP BY p.id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cover_plan(uuid[]) FROM PUBLIC;

-- Whether no policy binds a role on the tables of a tenant's owner role.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._passes_policies(role oid, owner oid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = $1 AND (r.rolsuper OR r.rolbypassrls))
           OR EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = $2) AND pg_has_role($1, $2, 'USAGE')
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._passes_policies(oid, oid) FROM PUBLIC;

-- What reader and writer get on a new object of their tenant where default privileges give nothing; null for a table
-- from which a user took what it had.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._due_rights(reader oid, writer oid, is_routine boolean, acl aclitem[],
                                                             owner oid)
RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT CASE WHEN $3 OR $4 IS NULL OR EXISTS (SELECT FROM aclexplode($4) AS a WHERE a.grantee <> $5) THEN (
        SELECT jsonb_agg(jsonb_build_object('grantee', d.role::bigint, 'privilege', d.privilege, 'grantable', false))
        FROM (SELECT $1 AS role, 'SELECT' AS privilege WHERE NOT $3
              UNION ALL
              SELECT $2, unnest(CASE WHEN $3 THEN ARRAY['EXECUTE']
                                     ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] END)) AS d) END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._due_rights(oid, oid, boolean, aclitem[], oid) FROM PUBLIC;

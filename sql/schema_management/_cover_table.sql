-- Gives a table the policies in `wanted`, takes those of ours that it has, and turns row-level security on; off only
-- where we turned it on and nobody else has a policy there.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cover_table(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               table_oid oid, table_name text, wanted jsonb)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    word     CONSTANT text := (SELECT s.word FROM edu_matrix_hub_schema.tenant_row_security AS s
                               WHERE s.schema_id = tenant.id);
    former   record;
    policy   record;
    made     jsonb := '[]'::jsonb;
    name     text;
    was_ours boolean;
    is_on    boolean;
BEGIN
    -- The owner of a table may have no right on it and can alter it all the same, which locks it as well.
    is_on := (SELECT c.relrowsecurity FROM pg_class AS c WHERE c.oid = table_oid);
    IF wanted <> '[]' AND to_regclass(table_name) = table_oid::regclass THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', table_name);
    END IF;
    IF to_regclass(table_name) IS DISTINCT FROM table_oid::regclass THEN
        -- It was renamed since; the next look finds it.
        RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'it was renamed';
    END IF;
    was_ours := coalesce((SELECT o.enabled FROM edu_matrix_hub_schema.row_security_objects AS o
                          WHERE o.schema_id = tenant.id AND o.object_oid = table_oid AND NOT o.is_routine), false);
    FOR former IN
        SELECT l.polname, e.value IS NULL AND l.polpermissive AS is_left
        FROM pg_policy AS l
        LEFT JOIN edu_matrix_hub_schema.row_security_objects AS o
          ON o.schema_id = tenant.id AND o.object_oid = table_oid AND NOT o.is_routine
        LEFT JOIN LATERAL jsonb_array_elements(o.policies) AS e (value) ON (e.value ->> 'oid')::oid = l.oid
        WHERE l.polrelid = table_oid AND (e.value IS NOT NULL OR starts_with(l.polname::text, word))
    LOOP
        EXECUTE format('DROP POLICY %I ON %s', former.polname, table_name);
        -- After a restored dump nothing else tells that row security was ours (see _cover_plan).
        was_ours := was_ours OR former.is_left;
    END LOOP;
    FOR policy IN
        SELECT w.value AS entry, w.value ->> 'command' AS command,
               coalesce((SELECT string_agg(edu_matrix_hub_schema._policy_test(
                                               (t.value ->> 0)::name, (t.value ->> 1)::oid, t.value ->> 2), ' AND ')
                         FROM jsonb_array_elements(w.value -> 'tests') AS t (value)), 'true') AS test,
               CASE (w.value ->> 'permissive')::boolean WHEN true THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END AS kind,
               (SELECT string_agg(CASE r.oid WHEN '0' THEN 'PUBLIC'
                                             ELSE quote_ident(pg_get_userbyid(r.oid::oid)) END, ', ')
                FROM jsonb_array_elements_text(w.value -> 'roles') AS r (oid)) AS roles
        FROM jsonb_array_elements(wanted) AS w (value)
    LOOP
        name := left(concat_ws('_', word, left(policy.entry ->> 'policy', 24),
                               left(replace(gen_random_uuid()::text, '-', ''), 8)), 63);
        EXECUTE format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', name, table_name, policy.kind,
                       CASE policy.command WHEN '*' THEN 'ALL' WHEN 'Select' THEN 'SELECT' WHEN 'Insert' THEN 'INSERT'
                                           WHEN 'Update' THEN 'UPDATE' WHEN 'Delete' THEN 'DELETE' END, policy.roles)
                || CASE WHEN policy.command <> 'Insert' THEN format(' USING (%s)', policy.test) ELSE '' END
                || CASE WHEN policy.command IN ('*', 'Insert', 'Update') THEN format(' WITH CHECK (%s)', policy.test)
                        ELSE '' END;
        made := made || (SELECT jsonb_build_object(
                             'key', policy.entry -> 'key', 'oid', l.oid::bigint,
                             'mark', l.xmin::text, 'policy', policy.entry -> 'policy',
                             'digest', policy.entry -> 'digest', 'column', policy.entry -> 'column')
                         FROM pg_policy AS l WHERE l.polrelid = table_oid AND l.polname = name);
    END LOOP;
    IF wanted <> '[]' AND NOT is_on THEN
        was_ours := true;
    ELSIF wanted = '[]' AND is_on AND was_ours
          AND NOT EXISTS (SELECT FROM pg_policy AS l WHERE l.polrelid = table_oid) THEN
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', table_name);
    END IF;
    -- A new table keeps being new until it was given what it is due.
    INSERT INTO edu_matrix_hub_schema.row_security_objects AS o (schema_id, object_oid, is_routine, policies, enabled,
                                                                 taken)
    SELECT tenant.id, table_oid, false, made, was_ours AND wanted <> '[]',
           CASE WHEN s.mode = 'Required' THEN
               edu_matrix_hub_schema._due_rights(tenant.reader_role_oid, tenant.writer_role_oid, false, c.relacl,
                                                 c.relowner) END
    FROM edu_matrix_hub_schema.tenant_row_security AS s JOIN pg_class AS c ON c.oid = table_oid
    WHERE s.schema_id = tenant.id
    ON CONFLICT (schema_id, object_oid, is_routine) DO UPDATE
    SET policies = EXCLUDED.policies, enabled = EXCLUDED.enabled;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cover_table(edu_matrix_hub_schema.tenant_schemas, oid, text, jsonb)
    FROM PUBLIC;

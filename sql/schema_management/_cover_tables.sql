-- Brings row-level security of a tenant to what it asks for, at most `most` objects, and notes what came of it. The
-- caller has locked the tenant. Returns {done: [text...], failed: [{what, statement, error}...], left, table_count,
-- uncovered, uncovered_count, forced}; `left` says how many objects are for a further call, and `held` names a table
-- that another session holds.
--
-- Each table needs its strongest lock for a moment. It is asked for 100 ms, and when one was not had, for 20 ms: a
-- session that holds one lock often holds more. What is locked is left; a session that waits behind us waits no longer
-- than that. What was done is locked until the commit, so after 300 ms the rest is left as well.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cover_tables(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               most integer)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
SET client_min_messages = warning
AS $function$
DECLARE
    planned   record;
    finding   record;
    owner_is_taken boolean := false;
    done      text[] := '{}'::text[];
    failed    jsonb := '[]'::jsonb;
    held      text;
    held_many integer := 0;
    withholds boolean;
    begun     timestamptz;
    acted     boolean := false;
    reported  record;
BEGIN
    -- New tables and functions are open to nobody before they were looked at, or again by default.
    withholds := EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_row_security AS s
                         WHERE s.schema_id = tenant.id AND s.mode = 'Required');
    IF withholds = EXISTS (SELECT FROM pg_default_acl AS d CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
                           WHERE d.defaclrole = tenant.owner_role_oid AND d.defaclnamespace = 0
                             AND d.defaclobjtype IN ('r', 'f')
                             AND a.grantee IN (tenant.reader_role_oid, tenant.writer_role_oid)) THEN
        PERFORM edu_matrix_hub_schema._grant_tenant_owner(tenant.id);
        owner_is_taken := true;
        FOR finding IN SELECT * FROM edu_matrix_hub_schema._drift(ARRAY[tenant.id]) AS d
                       WHERE d.kind = 'default' AND d.repairable LOOP
            PERFORM edu_matrix_hub_schema._persist(finding.statement);
            done := done || finding.what;
        END LOOP;
    END IF;
    FOR planned IN SELECT p.* FROM edu_matrix_hub_schema._cover_plan(ARRAY[tenant.id]) AS p
                   WHERE p.action IN ('secure', 'take', 'give', 'note', 'forget')
                   ORDER BY array_position('{secure,take,note,forget,give}', p.action), p.object_oid
                   LIMIT most LOOP
        -- A table that could not be secured is given to nobody.
        CONTINUE WHEN planned.action = 'give' AND NOT planned.is_routine AND EXISTS (
            SELECT FROM jsonb_array_elements(failed) AS f (value)
            WHERE (f.value ->> 'oid')::oid = planned.object_oid);
        begun := coalesce(begun, clock_timestamp());
        EXIT WHEN held_many = 20 OR clock_timestamp() > begun + interval '300 ms';
        acted := true;
        IF NOT owner_is_taken AND planned.action IN ('secure', 'take', 'give') THEN
            PERFORM edu_matrix_hub_schema._grant_tenant_owner(tenant.id);
            owner_is_taken := true;
        END IF;
        BEGIN
            CASE planned.action
                WHEN 'secure' THEN
                    PERFORM edu_matrix_hub_schema._cover_table(tenant, planned.object_oid, planned.name,
                                                                planned.detail);
                    done := done || planned.what;
                WHEN 'take' THEN
                    PERFORM edu_matrix_hub_schema._take_rights(tenant, planned.object_oid, planned.is_routine,
                                                               planned.detail);
                    done := done || format('%s: %s', planned.name, planned.what);
                WHEN 'give' THEN
                    PERFORM edu_matrix_hub_schema._give_rights(tenant, planned.object_oid, planned.is_routine,
                                                               planned.detail);
                    done := done || coalesce(planned.name || ': ', '') || planned.what;
                WHEN 'note' THEN
                    INSERT INTO edu_matrix_hub_schema.row_security_objects (schema_id, object_oid, is_routine)
                    VALUES (tenant.id, planned.object_oid, planned.is_routine) ON CONFLICT DO NOTHING;
                ELSE
                    DELETE FROM edu_matrix_hub_schema.row_security_objects AS o
                    WHERE o.schema_id = tenant.id AND o.object_oid = planned.object_oid
                      AND o.is_routine = planned.is_routine;
            END CASE;
        EXCEPTION
            WHEN serialization_failure OR deadlock_detected OR query_canceled THEN RAISE;
            WHEN undefined_table OR undefined_function OR undefined_column OR undefined_object THEN
                -- It was changed since the look; the next one finds it as it is.
                NULL;
            WHEN OTHERS THEN
                IF SQLSTATE = '55P03' THEN
                    held := coalesce(held, planned.name);
                    held_many := held_many + 1;
                    PERFORM set_config('lock_timeout', '20ms', true);
                ELSIF edu_matrix_hub_schema._may_pass(SQLSTATE, SQLERRM) THEN
                    RAISE;
                END IF;
                failed := failed || jsonb_build_object('oid', planned.object_oid::bigint, 'what', planned.what,
                                                       'error', SQLERRM, 'sqlstate', SQLSTATE);
        END;
    END LOOP;
    IF owner_is_taken THEN
        PERFORM edu_matrix_hub_schema._revoke_tenant_owner(tenant.id);
    END IF;
    -- What came back may be what others write with, and those to whom the tenant's grants are have it by these alone.
    IF acted AND EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                         WHERE t.id = tenant.id AND t.taken_members IS NOT NULL) THEN
        PERFORM edu_matrix_hub_schema._take_grants(tenant);
    END IF;
    IF acted AND EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_grants AS g WHERE g.schema_id = tenant.id) THEN
        done := done || ARRAY(SELECT jsonb_array_elements_text(
                                  edu_matrix_hub_schema._give_grants(tenant) -> 'given'));
    END IF;

    DELETE FROM edu_matrix_hub_schema.row_security_objects AS o
    WHERE o.schema_id = tenant.id AND o.policies = '[]' AND NOT o.enabled AND o.taken IS NULL
      AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_row_security AS s
                      WHERE s.schema_id = o.schema_id AND s.mode = 'Required');
    SELECT * INTO reported FROM edu_matrix_hub_schema._cover_state(ARRAY[tenant.id]);
    UPDATE edu_matrix_hub_schema.tenant_row_security AS s
    SET table_count = reported.table_count, uncovered = reported.uncovered,
        uncovered_count = reported.uncovered_count, forced = reported.forced
    WHERE s.schema_id = tenant.id
      AND (s.table_count, s.uncovered, s.uncovered_count, s.forced)
          IS DISTINCT FROM (reported.table_count, reported.uncovered, reported.uncovered_count, reported.forced);
    IF FOUND AND done = '{}' THEN
        done := ARRAY['what passes the policies is noted'];
    END IF;
    DELETE FROM edu_matrix_hub_schema.tenant_row_security AS s
    WHERE s.schema_id = tenant.id AND s.mode IS NULL AND reported.due = 0
      AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.row_security_objects AS o WHERE o.schema_id = s.schema_id);
    RETURN jsonb_strip_nulls(jsonb_build_object(
        'done', to_jsonb(done), 'failed', failed, 'left', reported.due, 'held', held,
        'table_count', reported.table_count, 'uncovered', reported.uncovered,
        'uncovered_count', reported.uncovered_count, 'forced', to_jsonb(reported.forced)));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cover_tables(edu_matrix_hub_schema.tenant_schemas, integer) FROM PUBLIC;

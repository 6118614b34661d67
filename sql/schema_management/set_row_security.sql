-- What a tenant asks for in row-level security; done for a bounded number of tables, and `partial` while there are
-- more. What changes later (new tables, what a user drops) is found by the survey and done by repair_tenant_schema.
--
-- options: {schema_id or owner_uid, mode, policies, digest, requested_by?}; without a mode everything of ours is taken
-- back. With owner_uid it is the living tenant of that object. A policy is {name, column, setting, tables?,
-- commands?, roles?}: commands are Select, Insert, Update, Delete and roles are reader, writer; absent they mean all.
-- `digest` stands for mode and policies and comes back in the tenant's row.
-- detail: {tables, uncovered, uncovered_count, forced, left, held?}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.set_row_security(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    most         CONSTANT integer := 100;
    attempt      text := format('set row-level security of tenant %s', edu_matrix_hub_schema._tenant_asked(options));
    wanted       CONSTANT text := options ->> 'mode';
    tenant       edu_matrix_hub_schema.tenant_schemas;
    former       edu_matrix_hub_schema.tenant_row_security;
    outcome      jsonb;
    detail       jsonb;
    failure      jsonb;
    message      text;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant_meant(options);
        tenant := edu_matrix_hub_schema._lock_tenant(tenant.id, 'structure', false);
        attempt := format('set row-level security of schema "%s"', tenant.schema_name);
        PERFORM edu_matrix_hub_schema._require_schema(tenant);
        SELECT * INTO former FROM edu_matrix_hub_schema.tenant_row_security AS s WHERE s.schema_id = tenant.id;
        IF former.schema_id IS NULL AND wanted IS NULL THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('schema "%s" has no row-level security of ours', tenant.schema_name), tenant.id, '{}');
        END IF;
        INSERT INTO edu_matrix_hub_schema.tenant_row_security AS s (schema_id, mode, policies, digest, word)
        VALUES (tenant.id, wanted, coalesce(options -> 'policies', '[]'), coalesce(options ->> 'digest', ''),
                'edu_matrix_' || left(replace(gen_random_uuid()::text, '-', ''), 12))
        ON CONFLICT (schema_id) DO UPDATE
        SET mode = EXCLUDED.mode, policies = EXCLUDED.policies, digest = EXCLUDED.digest;
        IF wanted = 'Required' AND former.mode IS DISTINCT FROM 'Required' THEN
            -- What is there has what its owner gave; what comes later waits until it was looked at.
            INSERT INTO edu_matrix_hub_schema.row_security_objects (schema_id, object_oid, is_routine)
            SELECT tenant.id, o.object_oid, o.is_routine
            FROM edu_matrix_hub_schema._objects_of(tenant.schema_oid) AS o
            ON CONFLICT DO NOTHING;
        END IF;
        outcome := edu_matrix_hub_schema._cover_tables(tenant, most);
        detail := jsonb_build_object('tables', outcome -> 'table_count', 'uncovered', outcome -> 'uncovered',
                                     'uncovered_count', outcome -> 'uncovered_count', 'forced', outcome -> 'forced',
                                     'left', outcome -> 'left') || coalesce(
                  jsonb_build_object('held', outcome -> 'held'), '{}');
        IF outcome -> 'failed' <> '[]' AND outcome -> 'done' = '[]' AND outcome ->> 'held' IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_repairable',
                format('%s: %s', outcome #>> '{failed,0,what}', outcome #>> '{failed,0,error}'));
        END IF;
        IF outcome -> 'done' = '[]' AND outcome ->> 'left' = '0' AND former.mode IS NOT DISTINCT FROM wanted
           AND former.digest = options ->> 'digest' THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('row-level security of schema "%s" is as it is to be', tenant.schema_name), tenant.id, detail);
        END IF;
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET reported = NULL, updated_at = now() WHERE t.id = tenant.id;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('set_row_security', tenant.id, options ->> 'requested_by',
                                                  started, attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    failure := jsonb_path_query_first(outcome, '$.failed[*] ? (@.sqlstate != "55P03")');
    message := format(CASE WHEN wanted IS NULL THEN 'row-level security of schema "%s": ours is taken back'
                           ELSE 'row-level security of schema "%1$s": %2$s tables have policies' END
                      || CASE WHEN outcome ->> 'left' = '0' THEN '' ELSE '; %3$s tables, views and routines wait' END
                      || CASE WHEN outcome ->> 'held' IS NULL THEN '' ELSE ', and a session holds table %4$s' END
                      || CASE WHEN failure IS NULL THEN '' ELSE '; %5$s: %6$s' END,
                      tenant.schema_name, outcome ->> 'table_count', outcome ->> 'left', outcome ->> 'held',
                      failure ->> 'what', failure ->> 'error');
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'set_row_security', 'success', options ->> 'requested_by', started,
                                       attempt, detail);
    RETURN edu_matrix_hub_schema._result(CASE WHEN outcome ->> 'left' = '0' THEN 'success' ELSE 'partial' END, message,
                                         tenant.id, detail);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.set_row_security(jsonb) FROM PUBLIC;

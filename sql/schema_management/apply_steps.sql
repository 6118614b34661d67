-- Does consecutive steps of a plan in one round trip: steps is [{"call": name, "options": {...}}...], the answer an
-- array of results, each with its `call`. It stops after the first that is neither `success` nor `unchanged`; what was
-- done before stays. The names form a closed set, so that no text of a caller becomes SQL.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.apply_steps(epoch bigint, installation_id uuid, steps jsonb)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    results jsonb := '[]'::jsonb;
    refusal jsonb := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    step    jsonb;
    result  jsonb;
BEGIN
    IF refusal IS NOT NULL THEN
        RETURN jsonb_build_array(refusal || jsonb_build_object('call', coalesce(steps #>> '{0,call}', 'apply_steps')));
    END IF;
    FOR step IN SELECT s FROM jsonb_array_elements(steps) AS s LOOP
        CASE step ->> 'call'
            WHEN 'create_tenant_schema' THEN result := edu_matrix_hub_schema.create_tenant_schema(step -> 'options');
            WHEN 'adopt_tenant_schema' THEN result := edu_matrix_hub_schema.adopt_tenant_schema(step -> 'options');
            WHEN 'set_tenant_access' THEN result := edu_matrix_hub_schema.set_tenant_access(step -> 'options');
            WHEN 'set_tenant_config' THEN result := edu_matrix_hub_schema.set_tenant_config(step -> 'options');
            WHEN 'repair_tenant_schema' THEN result := edu_matrix_hub_schema.repair_tenant_schema(step -> 'options');
            WHEN 'recreate_tenant_schema' THEN
                result := edu_matrix_hub_schema.recreate_tenant_schema(step -> 'options');
            WHEN 'reclaim_tenant_schema' THEN result := edu_matrix_hub_schema.reclaim_tenant_schema(step -> 'options');
            WHEN 'restore_tenant_schema' THEN result := edu_matrix_hub_schema.restore_tenant_schema(step -> 'options');
            WHEN 'bring_back' THEN result := edu_matrix_hub_schema.bring_back(step -> 'options');
            WHEN 'rebind_tenants' THEN result := edu_matrix_hub_schema.rebind_tenants(step -> 'options');
            WHEN 'remember_namespaces' THEN result := edu_matrix_hub_schema.remember_namespaces(step -> 'options');
            WHEN 'release_tenants' THEN result := edu_matrix_hub_schema.release_tenants(step -> 'options');
            WHEN 'set_aside_tenant_schema' THEN
                result := edu_matrix_hub_schema.set_aside_tenant_schema(step -> 'options');
            WHEN 'issue_credential' THEN result := edu_matrix_hub_schema.issue_credential(step -> 'options');
            WHEN 'set_credential_limits' THEN result := edu_matrix_hub_schema.set_credential_limits(step -> 'options');
            WHEN 'end_previous_login' THEN result := edu_matrix_hub_schema.end_previous_login(step -> 'options');
            WHEN 'set_row_security' THEN result := edu_matrix_hub_schema.set_row_security(step -> 'options');
            WHEN 'withdraw_credential' THEN result := edu_matrix_hub_schema.withdraw_credential(step -> 'options');
            WHEN 'set_tenant_grants' THEN result := edu_matrix_hub_schema.set_tenant_grants(step -> 'options');
            WHEN 'remake_dependents' THEN result := edu_matrix_hub_schema.remake_dependents(step -> 'options');
            WHEN 'adopt_backup' THEN result := edu_matrix_hub_schema.adopt_backup(step -> 'options');
            WHEN 'request_backup' THEN result := edu_matrix_hub_schema.request_backup(step -> 'options');
            WHEN 'request_purge' THEN result := edu_matrix_hub_schema.request_purge(step -> 'options');
            WHEN 'cancel_backup' THEN result := edu_matrix_hub_schema.cancel_backup(step -> 'options');
            WHEN 'cancel_tenant_jobs' THEN result := edu_matrix_hub_schema.cancel_tenant_jobs(step -> 'options');
            ELSE
                result := edu_matrix_hub_schema._result('error',
                    format('there is no step "%s" in contract 1', step ->> 'call'), NULL,
                    '{"reason": "internal"}');
        END CASE;
        results := results || (result || jsonb_build_object('call', step ->> 'call'));
        EXIT WHEN result ->> 'status' NOT IN ('success', 'unchanged');
    END LOOP;
    RETURN results;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.apply_steps(bigint, uuid, jsonb) FROM PUBLIC;

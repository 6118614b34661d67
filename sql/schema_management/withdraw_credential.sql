-- Ends what a tenant logs in with for one purpose: both logins are closed, their passwords are forgotten and their
-- sessions end, at once. The next credential opens one again. The first call answers `partial`: once it is committed,
-- another ends the sessions that came in meanwhile.
--
-- options: {schema_id or owner_uid, purpose, requested_by?}; with owner_uid it is the living tenant of that object.
-- detail: {purpose, closed: [login...], ended, not_ended: [{pid, role}...]}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.withdraw_credential(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('withdraw the credential of tenant %s', edu_matrix_hub_schema._tenant_asked(options));
    tenant       edu_matrix_hub_schema.tenant_schemas;
    credential   edu_matrix_hub_schema.tenant_credentials;
    closed       jsonb;
    is_first     boolean;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant_meant(options);
        attempt := format('withdraw the credential of schema "%s"', tenant.schema_name);
        SELECT * INTO credential FROM edu_matrix_hub_schema.tenant_credentials AS c
        WHERE c.schema_id = tenant.id AND c.purpose = options ->> 'purpose';
        IF NOT FOUND THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('schema "%s" has no such credential', tenant.schema_name), tenant.id);
        END IF;
        PERFORM edu_matrix_hub_schema._refuse_shared(tenant);
        is_first := credential.withdrawn_at IS NULL;
        closed := edu_matrix_hub_schema._withdraw(tenant, options ->> 'purpose')
                  || jsonb_build_object('purpose', credential.purpose);
        DELETE FROM edu_matrix_hub_schema.tenant_credentials AS c
        WHERE c.schema_id = tenant.id AND c.purpose = options ->> 'purpose' AND NOT is_first;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('withdraw_credential', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    IF is_first OR closed ->> 'ended' <> '0' THEN
        PERFORM edu_matrix_hub_schema._log(tenant.id, 'withdraw_credential', 'success', options ->> 'requested_by',
                                           started, attempt, closed);
    END IF;
    RETURN edu_matrix_hub_schema._result(CASE WHEN is_first THEN 'partial' ELSE 'success' END,
        format('the credential of schema "%s" is withdrawn, %s sessions ended%s', tenant.schema_name,
               closed ->> 'ended', CASE WHEN is_first THEN '; commit, and call again' ELSE '' END), tenant.id, closed);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.withdraw_credential(jsonb) FROM PUBLIC;

-- Closes the logins of a tenant that the caller has locked, for one purpose or all, and notes when: {closed, ended,
-- not_ended}. What came in before the commit, and logins that another database of the server uses too, are left to
-- withdraw_credential().
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._withdraw(tenant edu_matrix_hub_schema.tenant_schemas,
                                                           purpose text DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    names text[];
BEGIN
    WITH gone AS (
        UPDATE edu_matrix_hub_schema.tenant_credentials AS c
        SET withdrawn_at = coalesce(c.withdrawn_at, clock_timestamp())
        WHERE c.schema_id = tenant.id AND c.purpose = coalesce(_withdraw.purpose, c.purpose)
        RETURNING c.login, c.previous_login
    )
    SELECT coalesce(array_agg(DISTINCT l.name ORDER BY l.name), '{}') INTO names
    FROM gone AS g CROSS JOIN LATERAL (VALUES (g.login), (g.previous_login)) AS l (name)
    WHERE l.name IS NOT NULL;
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET reported = NULL, updated_at = now()
    WHERE t.id = tenant.id AND names <> '{}';
    IF names = '{}' OR edu_matrix_hub_schema._logins_are_others(tenant) THEN
        RETURN jsonb_build_object('closed', '[]'::jsonb, 'ended', 0, 'not_ended', '[]'::jsonb);
    END IF;
    RETURN edu_matrix_hub_schema._close_logins(tenant, names) || jsonb_build_object('closed', names);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._withdraw(edu_matrix_hub_schema.tenant_schemas, text) FROM PUBLIC;

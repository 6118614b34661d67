-- Closes the login that an earlier credential of a tenant was for, when its grace is over or at once, and ends its
-- sessions. The first call answers `partial`: once it is committed, another ends the sessions that came in meanwhile.
--
-- options: {schema_id or owner_uid, purpose, requested_by?}; with owner_uid it is the living tenant of that object.
-- detail: {purpose, closed, ended, not_ended: [{pid, role}...]}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.end_previous_login(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('close the previous login of tenant %s', edu_matrix_hub_schema._tenant_asked(options));
    tenant       edu_matrix_hub_schema.tenant_schemas;
    credential   edu_matrix_hub_schema.tenant_credentials;
    closed       jsonb;
    is_first     boolean;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant_meant(options);
        attempt := format('close the previous login of schema "%s"', tenant.schema_name);
        SELECT * INTO credential FROM edu_matrix_hub_schema.tenant_credentials AS c
        WHERE c.schema_id = tenant.id AND c.purpose = options ->> 'purpose';
        IF credential.previous_login IS NULL THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('schema "%s" has no previous login', tenant.schema_name), tenant.id);
        END IF;
        PERFORM edu_matrix_hub_schema._refuse_shared(tenant);
        is_first := credential.previous_closed_at IS NULL;
        closed := edu_matrix_hub_schema._close_previous(tenant, credential)
                  || jsonb_build_object('purpose', credential.purpose);
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('end_previous_login', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    IF is_first OR closed ->> 'ended' <> '0' THEN
        PERFORM edu_matrix_hub_schema._log(tenant.id, 'end_previous_login', 'success', options ->> 'requested_by',
                                           started, attempt, closed);
    END IF;
    RETURN edu_matrix_hub_schema._result(CASE WHEN is_first THEN 'partial' ELSE 'success' END,
        format('the previous login of schema "%s" is closed, %s sessions ended%s', tenant.schema_name,
               closed ->> 'ended', CASE WHEN is_first THEN '; commit, and call again' ELSE '' END), tenant.id, closed);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.end_previous_login(jsonb) FROM PUBLIC;

-- Closes the login before the one in use, and notes when; done again, it is no login of the credential any more. It
-- returns {closed, ended, not_ended}. No other database uses the tenant's roles, which the caller has seen to.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._close_previous(
    tenant edu_matrix_hub_schema.tenant_schemas, credential edu_matrix_hub_schema.tenant_credentials
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    is_first CONSTANT boolean := credential.previous_closed_at IS NULL;
    closed   jsonb;
BEGIN
    closed := edu_matrix_hub_schema._close_logins(tenant, ARRAY[credential.previous_login]);
    UPDATE edu_matrix_hub_schema.tenant_credentials AS c
    SET previous_login = CASE WHEN is_first THEN c.previous_login END,
        previous_until = CASE WHEN is_first THEN c.previous_until END,
        previous_closed_at = CASE WHEN is_first THEN clock_timestamp() END
    WHERE c.schema_id = tenant.id AND c.purpose = credential.purpose;
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET reported = NULL, updated_at = now() WHERE t.id = tenant.id;
    RETURN closed || jsonb_build_object('closed', credential.previous_login);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_previous(edu_matrix_hub_schema.tenant_schemas,
                                                             edu_matrix_hub_schema.tenant_credentials) FROM PUBLIC;

-- Closes logins of a tenant for good, so that a resumption does not open them again, and ends their sessions in every
-- database: {ended, not_ended}. No other database uses the tenant's roles, which the caller has seen to. A role that
-- only bears the name of one is not touched.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._close_logins(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               names text[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    own CONSTANT text[] := ARRAY(SELECT l.name FROM unnest(edu_matrix_hub_schema._own_logins(tenant)) AS l (name)
                                 WHERE l.name = ANY (names));
BEGIN
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET closed_logins = ARRAY(SELECT l.name FROM unnest(t.closed_logins) AS l (name) WHERE l.name <> ALL (names))
    WHERE t.id = tenant.id AND t.closed_logins && names;
    RETURN edu_matrix_hub_schema._shut_out(tenant, 'forget', own, own, true);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_logins(edu_matrix_hub_schema.tenant_schemas, text[]) FROM PUBLIC;

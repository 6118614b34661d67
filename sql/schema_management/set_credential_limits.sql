-- Gives what a tenant logs in with other limits, without another password: the login in use, and the
-- one before while that is open. Sessions keep what they have, and go on; new ones come in with the new limits.
--
-- options: {schema_id, purpose, connection_limit, statement_timeout_seconds, idle_in_transaction_timeout_seconds,
-- requested_by?}. The same as in the row, they are `unchanged`. detail: the row of tenant_credentials without its
-- schema_id.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.set_credential_limits(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('set the limits of the credential of tenant %s', options ->> 'schema_id');
    tenant       edu_matrix_hub_schema.tenant_schemas;
    former       edu_matrix_hub_schema.tenant_credentials;
    credential   edu_matrix_hub_schema.tenant_credentials;
    problem      record;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant((options ->> 'schema_id')::uuid, 'access', true);
        attempt := format('set the limits of the credential of schema "%s"', tenant.schema_name);
        SELECT * INTO former FROM edu_matrix_hub_schema.tenant_credentials AS c
        WHERE c.schema_id = tenant.id AND c.purpose = options ->> 'purpose';
        IF former.login IS NULL OR former.withdrawn_at IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('internal', 'there is no such credential, or it is withdrawn');
        END IF;
        UPDATE edu_matrix_hub_schema.tenant_credentials AS c
        SET connection_limit = (options ->> 'connection_limit')::integer,
            statement_timeout_seconds = (options ->> 'statement_timeout_seconds')::integer,
            idle_in_transaction_timeout_seconds = (options ->> 'idle_in_transaction_timeout_seconds')::integer
        WHERE c.schema_id = tenant.id AND c.purpose = options ->> 'purpose'
        RETURNING c.* INTO credential;
        IF credential = former THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('login "%s" of schema "%s" has these limits', former.login, tenant.schema_name), tenant.id,
                edu_matrix_hub_schema._credential_detail(former));
        END IF;
        PERFORM edu_matrix_hub_schema._refuse_shared(tenant);
        SELECT * INTO problem FROM edu_matrix_hub_schema._role_problem(
            credential.login, tenant.login_oids[array_position(tenant.logins, credential.login)]);
        IF problem.what IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_repairable', format('%s; a DBA can run: %s', problem.what,
                                                                           problem.statement));
        END IF;
        PERFORM edu_matrix_hub_schema._limit_logins(tenant, credential, ARRAY[credential.login] ||
            CASE WHEN credential.previous_closed_at IS NULL THEN credential.previous_login END);
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET reported = NULL, updated_at = now() WHERE t.id = tenant.id;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('set_credential_limits', tenant.id, options ->> 'requested_by',
                                                  started, attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'set_credential_limits', 'success', options ->> 'requested_by',
                                       started, attempt, edu_matrix_hub_schema._credential_detail(credential));
    RETURN edu_matrix_hub_schema._result('success',
        format('login "%s" of schema "%s" has other limits', credential.login, tenant.schema_name), tenant.id,
        edu_matrix_hub_schema._credential_detail(credential));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.set_credential_limits(jsonb) FROM PUBLIC;

-- Gives some logins of a tenant the limit and the timeouts of its credential. A role that only bears the name of one is
-- not touched.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._limit_logins(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               credential edu_matrix_hub_schema.tenant_credentials,
                                                               names text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    login text;
BEGIN
    FOREACH login IN ARRAY edu_matrix_hub_schema._own_logins(tenant) LOOP
        CONTINUE WHEN NOT login = ANY (array_remove(names, NULL));
        PERFORM edu_matrix_hub_schema._as_keeper(tenant.keeper, format(
            'ALTER ROLE %1$I CONNECTION LIMIT %2$s; '
            'ALTER ROLE %1$I IN DATABASE %3$I SET statement_timeout = ''%4$ss''; '
            'ALTER ROLE %1$I IN DATABASE %3$I SET idle_in_transaction_session_timeout = ''%5$ss''',
            login, credential.connection_limit, current_database(), credential.statement_timeout_seconds,
            credential.idle_in_transaction_timeout_seconds));
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._limit_logins(edu_matrix_hub_schema.tenant_schemas,
                                                           edu_matrix_hub_schema.tenant_credentials, text[])
    FROM PUBLIC;

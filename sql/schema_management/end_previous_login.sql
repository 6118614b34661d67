-- Closes the login that an earlier credential of a tenant was for, when its grace is over or at once, and ends its
-- sessions. So are sessions of the login in use that are older than its credential: they came in by an earlier one,
-- between its end and the commit.
--
-- options: {schema_id, purpose, requested_by?}. detail: {closed, ended, not_ended: [{pid, role}...]}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.end_previous_login(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('close the previous login of tenant %s', options ->> 'schema_id');
    tenant       edu_matrix_hub_schema.tenant_schemas;
    credential   edu_matrix_hub_schema.tenant_credentials;
    closed       jsonb;
    late         jsonb;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant((options ->> 'schema_id')::uuid, 'access', true);
        attempt := format('close the previous login of schema "%s"', tenant.schema_name);
        SELECT * INTO credential FROM edu_matrix_hub_schema.tenant_credentials AS c
        WHERE c.schema_id = tenant.id AND c.purpose = options ->> 'purpose';
        closed := edu_matrix_hub_schema._close_logins(tenant, array_remove(ARRAY[credential.previous_login], NULL));
        late := edu_matrix_hub_schema._end_sessions(
            tenant, ARRAY(SELECT l.name FROM unnest(edu_matrix_hub_schema._own_logins(tenant)) AS l (name)
                          WHERE l.name = credential.login), credential.issued_at);
        UPDATE edu_matrix_hub_schema.tenant_credentials AS c SET previous_login = NULL, previous_until = NULL
        WHERE c.schema_id = tenant.id AND c.purpose = options ->> 'purpose' AND c.previous_login IS NOT NULL;
        IF FOUND THEN
            UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET reported = NULL, updated_at = now()
            WHERE t.id = tenant.id;
        ELSIF late ->> 'ended' = '0' AND late -> 'not_ended' = '[]' THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('schema "%s" has no previous login', tenant.schema_name), tenant.id);
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('end_previous_login', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    closed := jsonb_build_object('closed', credential.previous_login,
                                 'ended', (closed ->> 'ended')::integer + (late ->> 'ended')::integer,
                                 'not_ended', (closed -> 'not_ended') || (late -> 'not_ended'));
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'end_previous_login', 'success', options ->> 'requested_by', started,
                                       attempt, closed);
    RETURN edu_matrix_hub_schema._result('success',
        format('the previous login of schema "%s" is closed, %s sessions ended', tenant.schema_name,
               closed ->> 'ended'), tenant.id, closed);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.end_previous_login(jsonb) FROM PUBLIC;

-- Closes logins of a tenant for good, so that a resumption does not open them again, and ends their sessions: {ended,
-- not_ended}. A role that only bears the name of one is not touched, and a login that another database of the server
-- uses too stays open there.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._close_logins(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               names text[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    own CONSTANT text[] := ARRAY(SELECT l.name FROM unnest(edu_matrix_hub_schema._own_logins(tenant)) AS l (name)
                                 WHERE l.name = ANY (names));
BEGIN
    IF edu_matrix_hub_schema._other_databases(edu_matrix_hub_schema._own_roles(tenant)) = '{}' THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'forget', own);
    END IF;
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET closed_logins = ARRAY(SELECT l.name FROM unnest(t.closed_logins) AS l (name) WHERE l.name <> ALL (names))
    WHERE t.id = tenant.id AND t.closed_logins && names;
    RETURN edu_matrix_hub_schema._end_sessions(tenant, own);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_logins(edu_matrix_hub_schema.tenant_schemas, text[]) FROM PUBLIC;

-- Gives a tenant a new credential: a login that is not in use gets the password and is opened, and becomes the one in
-- use. The one before stays open for the grace; end_previous_login() closes it then, or before the next credential. So
-- an application that connects again with either password comes in.
--
-- options: {schema_id or owner_uid, purpose, credential_id, verifier, connection_limit,
-- statement_timeout_seconds, idle_in_transaction_timeout_seconds, grace_seconds, unpublished?, requested_by?}. With
-- owner_uid it is the living tenant of that object, whose id a caller does not know that makes it in the same plan. The
-- verifier is SCRAM-SHA-256's: a password never comes here, and neither is ever written into the log. Issued before, a
-- credential is `unchanged`. detail: see _credential_detail.
--
-- `unpublished` says that the credential in the registry never reached its Secret, so that applications still have the
-- one before. While that one's login is open, it stays as it is, its grace begins again, and the login in use gets
-- the new password. Otherwise it would have to be closed first, with every application that still has it.
--
-- For the purpose `connection` the login is a member of reader and writer; it owns nothing and creates nothing. For
-- `migration` it is a member of the owner role, and its sessions are to begin as that, so that what it makes belongs to
-- the owner. That is a default which no function of ours may give it (see _keeps_defaults). So `own_statements` in the
-- detail, if it is there, is what a session of the login itself is to run before others have the password; `group` is
-- what all logins are members of, for the rules that let them in.
--
-- search_path and the two timeouts are the login's defaults in this database, so that they hold behind a pooler too.
-- The tenant may change these, and not the connection limit. A suspended tenant gets no login. Neither does one whose
-- roles another database of the server uses, since a new password here would lock that one's application out.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.issue_credential(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    -- As PostgreSQL writes them: a password that was sent in its place must not become one.
    verifier     CONSTANT text := substring(options ->> 'verifier' FROM
        '^SCRAM-SHA-256[$][0-9]+:[A-Za-z0-9+/]+=*[$][A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$');
    grace        CONSTANT interval := make_interval(secs => (options ->> 'grace_seconds')::integer);
    attempt      text := format('issue a credential for tenant %s', edu_matrix_hub_schema._tenant_asked(options));
    in_place     boolean;
    stem         text;
    tenant       edu_matrix_hub_schema.tenant_schemas;
    former       edu_matrix_hub_schema.tenant_credentials;
    issued       edu_matrix_hub_schema.tenant_credentials;
    by_itself    text;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant_meant(options);
        attempt := format('issue a credential for schema "%s"', tenant.schema_name);
        IF verifier IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('internal', 'a SCRAM-SHA-256 verifier is needed, and no password');
        END IF;
        PERFORM edu_matrix_hub_schema._require_schema(tenant);
        PERFORM edu_matrix_hub_schema._require_roles(tenant);
        SELECT * INTO former FROM edu_matrix_hub_schema.tenant_credentials AS c
        WHERE c.schema_id = tenant.id AND c.purpose = options ->> 'purpose';
        IF former.credential_id = (options ->> 'credential_id')::uuid THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('credential %s of schema "%s" is issued', former.credential_id, tenant.schema_name), tenant.id,
                edu_matrix_hub_schema._credential_detail(former));
        END IF;
        IF tenant.access = 'Suspended' THEN
            PERFORM edu_matrix_hub_schema._refuse('internal', 'the tenant is suspended, and its logins stay closed');
        END IF;
        in_place := coalesce((options ->> 'unpublished')::boolean, false) AND former.previous_login IS NOT NULL
                    AND former.previous_closed_at IS NULL AND former.withdrawn_at IS NULL;
        IF NOT in_place AND (former.previous_login IS NOT NULL OR former.withdrawn_at IS NOT NULL) THEN
            -- Closed and opened in one transaction, it would let the former password in until the commit.
            PERFORM edu_matrix_hub_schema._refuse('internal', 'the login that is to be used is not closed yet');
        END IF;
        PERFORM edu_matrix_hub_schema._refuse_shared(tenant);
        stem := regexp_replace(tenant.owner_role, '_owner$', '')
                || CASE options ->> 'purpose' WHEN 'migration' THEN '_mig_' ELSE '_app_' END;
        issued.login := CASE WHEN in_place THEN former.login WHEN former.login = stem || 'a' THEN stem || 'b'
                             ELSE stem || 'a' END;
        PERFORM edu_matrix_hub_schema._ready_login(tenant, issued.login, options ->> 'purpose');
        by_itself := edu_matrix_hub_schema._open_login(tenant, issued.login, verifier, options);
        INSERT INTO edu_matrix_hub_schema.tenant_credentials AS c
            (schema_id, purpose, login, credential_id, issued_at, connection_limit, statement_timeout_seconds,
             idle_in_transaction_timeout_seconds, salt)
        VALUES (tenant.id, options ->> 'purpose', issued.login, (options ->> 'credential_id')::uuid, clock_timestamp(),
                (options ->> 'connection_limit')::integer, (options ->> 'statement_timeout_seconds')::integer,
                (options ->> 'idle_in_transaction_timeout_seconds')::integer, split_part(verifier, '$', 2))
        ON CONFLICT (schema_id, purpose) DO UPDATE
        SET login = excluded.login, credential_id = excluded.credential_id, issued_at = excluded.issued_at,
            salt = excluded.salt, salt_seen = false, password_changed = false, tried_at = NULL,
            previous_login = CASE WHEN in_place THEN c.previous_login ELSE c.login END,
            previous_until = excluded.issued_at + grace, connection_limit = excluded.connection_limit,
            statement_timeout_seconds = excluded.statement_timeout_seconds,
            idle_in_transaction_timeout_seconds = excluded.idle_in_transaction_timeout_seconds
        RETURNING c.* INTO issued;
        IF (former.connection_limit, former.statement_timeout_seconds, former.idle_in_transaction_timeout_seconds)
           <> (issued.connection_limit, issued.statement_timeout_seconds, issued.idle_in_transaction_timeout_seconds)
        THEN
            BEGIN
                PERFORM edu_matrix_hub_schema._limit_logins(tenant, issued, ARRAY[issued.previous_login]);
            EXCEPTION WHEN lock_not_available OR internal_error THEN
                -- A session that changes its own login must not hold up the next credential. The survey finds it.
                NULL;
            END;
        END IF;
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET reported = NULL, updated_at = now() WHERE t.id = tenant.id;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('issue_credential', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'issue_credential', 'success', options ->> 'requested_by', started,
                                       attempt, edu_matrix_hub_schema._credential_detail(issued));
    RETURN edu_matrix_hub_schema._result('success',
        format('login "%s" of schema "%s" has credential %s', issued.login, tenant.schema_name, issued.credential_id),
        tenant.id, edu_matrix_hub_schema._credential_detail(issued)
                   || CASE WHEN by_itself IS NULL THEN '{}'
                           ELSE jsonb_build_object('own_statements', by_itself,
                                                   'group', edu_matrix_hub_schema._connect_role_name()) END);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.issue_credential(jsonb) FROM PUBLIC;

-- Locks the access of the tenant that options name, by its own id or by the uid of the object that it belongs to, and
-- returns its row.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._lock_tenant_meant(options jsonb)
RETURNS edu_matrix_hub_schema.tenant_schemas
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    meant  uuid          := (options ->> 'schema_id')::uuid;
    object CONSTANT text := options ->> 'owner_uid';
    tenant edu_matrix_hub_schema.tenant_schemas;
BEGIN
    IF (meant IS NULL) = (object IS NULL) THEN
        PERFORM edu_matrix_hub_schema._refuse('internal', 'either the id of the tenant or the uid of its object is '
                                                          'needed');
    ELSIF meant IS NULL THEN
        SELECT t.id INTO meant FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.owner_uid = object AND t.status <> 'dropped';
        IF meant IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', format('the object with uid %s has no tenant', object));
        END IF;
    END IF;
    tenant := edu_matrix_hub_schema._lock_tenant(meant, 'access', true);
    IF tenant.owner_uid IS DISTINCT FROM coalesce(object, tenant.owner_uid) THEN
        PERFORM edu_matrix_hub_schema._refuse('not_found', 'the tenant has just become another object''s');
    END IF;
    RETURN tenant;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._lock_tenant_meant(jsonb) FROM PUBLIC;

-- How a message names the tenant that options name, before it is found.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._tenant_asked(options jsonb) RETURNS text
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT coalesce($1 ->> 'schema_id', 'of ' || ($1 ->> 'owner_uid'), '(none)')
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._tenant_asked(jsonb) FROM PUBLIC;

-- What is told of a credential when it is issued.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._credential_detail(
    credential edu_matrix_hub_schema.tenant_credentials) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT to_jsonb(credential) - ARRAY['schema_id', 'salt', 'salt_seen', 'password_changed', 'tried_at']
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._credential_detail(edu_matrix_hub_schema.tenant_credentials) FROM PUBLIC;

-- Refuses while another database of the server has the tenant's roles too, unless this one is the original.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._refuse_shared(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    IF edu_matrix_hub_schema._logins_are_others(tenant) THEN
        PERFORM edu_matrix_hub_schema._refuse('copy',
            format('the roles of the tenant are used in another database of this server too, so its logins stay as '
                   'they are: %s; drop it, or move it to another server',
                   array_to_string(edu_matrix_hub_schema._other_databases(
                       edu_matrix_hub_schema._own_roles(tenant)), ', ')));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._refuse_shared(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Makes a login of a tenant a member of what it needs for its purpose. It is made if it is missing, also when a user
-- dropped it; a role of its name that is not the tenant's is not touched. For a migration, and for a session of the
-- operator's (`run`), it may become the owner role, and from PostgreSQL 16 on it has nothing of that before it does.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._ready_login(edu_matrix_hub_schema.tenant_schemas, text);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._ready_login(tenant edu_matrix_hub_schema.tenant_schemas, login text,
                                                              purpose text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    ours   CONSTANT oid  := tenant.login_oids[array_position(tenant.logins, login)];
    entry  CONSTANT text := edu_matrix_hub_schema._connect_role();
    modern CONSTANT boolean := current_setting('server_version_num')::integer >= 160000;
    wrong  record;
    name   text;
BEGIN
    SELECT * INTO wrong FROM edu_matrix_hub_schema._role_problem(login, ours);
    IF wrong.what IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse(CASE WHEN ours IS NULL THEN 'name_taken' ELSE 'not_repairable' END,
                                              format('%s; a DBA can run: %s', wrong.what, wrong.statement));
    END IF;
    IF to_regrole(quote_ident(login)) IS NULL THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'create', ARRAY[login]);
        -- Taken out first, since a login that was declared stays the role that it was.
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET logins = array_remove(t.logins, login)
        WHERE t.id = tenant.id AND login = ANY (t.logins);
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET logins = array_append(t.logins, login)
        WHERE t.id = tenant.id;
    END IF;
    -- Also of a login that stands, for a group may have been dropped and made again.
    FOREACH name IN ARRAY edu_matrix_hub_schema._groups_of_logins(tenant, purpose) LOOP
        IF name = tenant.owner_role THEN
            IF NOT pg_has_role(login, name, CASE WHEN modern THEN 'SET' ELSE 'MEMBER' END) THEN
                PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'join set', ARRAY[login], name);
            END IF;
        ELSIF NOT pg_has_role(login, name, 'USAGE') THEN
            PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'join inherit', ARRAY[login], name);
        END IF;
    END LOOP;
    IF NOT pg_has_role(login, entry, 'USAGE') THEN
        PERFORM edu_matrix_hub_schema._let_connect(tenant.keeper, login);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._ready_login(edu_matrix_hub_schema.tenant_schemas, text, text) FROM PUBLIC;

-- What logins are members of for their purpose: while writes are taken, those of credentials neither of the writer nor
-- of the owner role.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._groups_of_logins(tenant edu_matrix_hub_schema.tenant_schemas,
                                                                   purpose text)
RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT CASE WHEN purpose = 'run' OR tenant.taken_members IS NULL AND purpose = 'migration'
                    THEN ARRAY[tenant.owner_role]
                WHEN tenant.taken_members IS NULL THEN ARRAY[tenant.reader_role, tenant.writer_role]
                WHEN tenant.access = 'WriteBlocked'
                    THEN ARRAY[tenant.reader_role, edu_matrix_hub_schema._deleter_name(tenant)]
                ELSE ARRAY[tenant.reader_role] END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._groups_of_logins(edu_matrix_hub_schema.tenant_schemas, text) FROM PUBLIC;

-- Opens a login with a verifier, its limit and its defaults; returns the statements of these where only the login
-- itself can run them. The verifier has a statement of its own, after the others: a statement that waits for the login
-- is written into the server's log where it logs lock waits, and after the others the login is ours.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._open_login(edu_matrix_hub_schema.tenant_schemas, text, text, jsonb);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._open_login(tenant edu_matrix_hub_schema.tenant_schemas, login text,
                                                             verifier text, options jsonb)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    migrates CONSTANT boolean := options ->> 'purpose' = 'migration';
    is_kept  CONSTANT boolean := migrates OR coalesce(
        edu_matrix_hub_schema._keeps_defaults(to_regrole(quote_ident(login))::oid), true);
    defaults CONSTANT text := edu_matrix_hub_schema._login_defaults(
        login, tenant.schema_name, (options ->> 'statement_timeout_seconds')::integer,
        (options ->> 'idle_in_transaction_timeout_seconds')::integer, CASE WHEN migrates THEN tenant.owner_role END);
BEGIN
    PERFORM edu_matrix_hub_schema._as_keeper(tenant.keeper, concat_ws('; ', CASE WHEN NOT is_kept THEN defaults END,
        format('ALTER ROLE %I LOGIN CONNECTION LIMIT %s VALID UNTIL ''infinity''', login,
               (options ->> 'connection_limit')::integer)));
    PERFORM edu_matrix_hub_schema._as_keeper(tenant.keeper, format('ALTER ROLE %I PASSWORD %L', login, verifier));
    RETURN CASE WHEN is_kept THEN defaults END;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._open_login(edu_matrix_hub_schema.tenant_schemas, text, text, jsonb)
    FROM PUBLIC;

-- Runs statements about logins as a role keeper; null means the owner role. Who writes them quotes every name. Where
-- two sessions give a login its first default at once, the server tells the second of a unique violation. The login
-- itself may be the first, so that is like a lock that it holds.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._as_keeper(keeper integer, statements text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    EXECUTE format('SELECT edu_matrix_hub_schema.%I($1)', concat_ws('_', '_keep', keeper)) USING statements;
EXCEPTION WHEN unique_violation THEN
    RAISE lock_not_available USING MESSAGE = 'another session has changed the login at the same time';
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._as_keeper(integer, text) FROM PUBLIC;

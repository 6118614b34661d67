-- Registers what the owner of a tenant gives to others, and gives and takes what differs from that.
--
-- options: {schema_id or owner_uid, grants: [{namespace, name or role, privileges: [Read|Write...], tables?:
-- [name...]}...], request?, requested_by?}. With owner_uid it is the living tenant of that object, whose id a caller
-- does not know that makes it in the same plan. The list is whole: what is not in it ends. A grantee that does not
-- exist yet is registered all the same and gets its rights when it appears: from then on they differ from what the
-- registry says, which the survey finds and repair_tenant_schema() puts right, as it does all the rest. Another
-- `request` than before forgets in which namespace a grantee was, and which role had its name. Registered before, with
-- all that follows from it, it is `unchanged`.
--
-- The rights are entries of the tables' own lists of grants and of the owner role's default privileges, and USAGE on
-- the schema. No role becomes a member of another: a member could act as the role that it is a member of.
--
-- detail: {given: [text...], not_given: [{what, statement, error}...], locked?, grants: see _grant_states}; `locked` is
-- why some was not done, since a session has locked a table. One call changes the rights on at most 2,000 tables, so
-- that its transaction is short for the migrations of the tenant; the survey finds the rest.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.set_tenant_grants(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('set the grants of tenant %s', edu_matrix_hub_schema._tenant_asked(options));
    tenant       edu_matrix_hub_schema.tenant_schemas;
    changed      boolean;
    facts        jsonb;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant_meant(options);
        attempt := format('set the grants of schema "%s"', tenant.schema_name);
        PERFORM edu_matrix_hub_schema._require_schema(tenant);
        PERFORM edu_matrix_hub_schema._require_roles(tenant);
        changed := edu_matrix_hub_schema._register_grants(tenant.id, options -> 'grants',
                                                                options ->> 'request');
        facts := edu_matrix_hub_schema._give_grants(tenant);
        -- Nothing that passes required policies is given for longer than this call.
        IF facts -> 'given' <> '[]'
           AND EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_row_security AS s
                       WHERE s.schema_id = tenant.id AND s.mode = 'Required')
           AND edu_matrix_hub_schema._tenant_lock(tenant.id, 'structure', false) THEN
            PERFORM edu_matrix_hub_schema._cover_tables(tenant, 100);
        END IF;
        IF NOT changed AND facts -> 'given' = '[]' AND facts ? 'locked' THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', facts ->> 'locked', '{"sqlstate": "55P03"}');
        ELSIF changed OR facts -> 'given' <> '[]' THEN
            UPDATE edu_matrix_hub_schema.tenant_schemas AS t
            SET fingerprint = NULL, reported = NULL, updated_at = now() WHERE t.id = tenant.id;
            -- What a grantee lacked a right for may be made again now.
            UPDATE edu_matrix_hub_schema.taken_dependents AS d SET note = NULL
            WHERE d.grantor_id = tenant.id AND d.note IS NOT NULL AND d.remake <> '{}';
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('set_tenant_grants', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    facts := facts || jsonb_build_object('grants', (
        SELECT g.grants FROM edu_matrix_hub_schema._grant_states(ARRAY[tenant.id]) AS g));
    IF NOT changed AND facts -> 'given' = '[]' THEN
        RETURN edu_matrix_hub_schema._result('unchanged',
            format('the grants of schema "%s" are as wanted', tenant.schema_name), tenant.id, facts);
    END IF;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'set_tenant_grants', 'success', options ->> 'requested_by',
                                       started, attempt, facts);
    RETURN edu_matrix_hub_schema._result('success', format('the grants of schema "%s" are set', tenant.schema_name),
                                         tenant.id, facts);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.set_tenant_grants(jsonb) FROM PUBLIC;

-- Writes the list of a tenant's grants, and returns whether that changed something. An entry that was there before, in
-- whichever place, keeps what is known of its grantee.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._register_grants(tenant_id uuid, grants jsonb, request text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    known CONSTANT jsonb := (SELECT coalesce(jsonb_agg(to_jsonb(g) ORDER BY g.n), '[]')
                             FROM edu_matrix_hub_schema.tenant_grants AS g WHERE g.schema_id = tenant_id);
    next  jsonb;
BEGIN
    WITH wanted AS (
        SELECT w.n, w.value ->> 'namespace' AS to_namespace, w.value ->> 'name' AS to_name,
               w.value ->> 'role' AS to_role, w.value -> 'privileges' AS privileges,
               coalesce(w.value -> 'tables', 'null') AS tables
        FROM jsonb_array_elements(coalesce(grants, '[]')) WITH ORDINALITY AS w (value, n)
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'schema_id', tenant_id, 'n', w.n, 'to_namespace', w.to_namespace, 'to_name', w.to_name,
               'privileges', w.privileges, 'tables', w.tables, 'request', request, 'grantee_id', k.grantee_id,
               'grantee_namespace_uid', k.uid, 'to_role', w.to_role, 'role_oid', k.role_oid) ORDER BY w.n), '[]')
    INTO next
    FROM wanted AS w
    LEFT JOIN LATERAL (
        SELECT o.value -> 'grantee_id' AS grantee_id,
               CASE WHEN request IS NULL OR o.value ->> 'request' = request
                    THEN o.value -> 'grantee_namespace_uid' END AS uid,
               CASE WHEN request IS NULL OR o.value ->> 'request' = request
                    THEN o.value -> 'role_oid' END AS role_oid
        FROM jsonb_array_elements(known) AS o (value)
        WHERE (o.value ->> 'to_namespace', o.value ->> 'to_name', o.value ->> 'to_role')
              IS NOT DISTINCT FROM (w.to_namespace, w.to_name, w.to_role)
          AND (o.value -> 'privileges', o.value -> 'tables') = (w.privileges, w.tables)
        LIMIT 1) AS k ON true;
    IF next = known THEN
        RETURN false;
    END IF;
    DELETE FROM edu_matrix_hub_schema.tenant_grants AS g WHERE g.schema_id = tenant_id;
    INSERT INTO edu_matrix_hub_schema.tenant_grants
    SELECT r.* FROM jsonb_populate_recordset(NULL::edu_matrix_hub_schema.tenant_grants, next) AS r;
    RETURN true;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._register_grants(uuid, jsonb, text) FROM PUBLIC;

-- Gives and takes what differs between the rights on a tenant's schema and tables and its grants; see
-- set_tenant_grants(). What cannot be done is returned, and keeps nothing else from being done.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._give_grants(tenant edu_matrix_hub_schema.tenant_schemas) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    finding        record;
    owner_is_taken boolean := false;
    given          text[] := '{}'::text[];
    not_given      jsonb := '[]'::jsonb;
    locked         text;
BEGIN
    PERFORM edu_matrix_hub_schema._remember_grantees(tenant.id);
    FOR finding IN SELECT * FROM edu_matrix_hub_schema._drift(ARRAY[tenant.id]) AS d
                   WHERE d.kind IN ('schema', 'default', 'grant') LOOP
        IF NOT finding.repairable THEN
            not_given := not_given || jsonb_build_object('what', finding.what, 'statement', finding.statement);
            CONTINUE;
        END IF;
        IF NOT owner_is_taken THEN
            PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
            owner_is_taken := true;
        END IF;
        BEGIN
            PERFORM edu_matrix_hub_schema._persist(finding.statement);
            given := given || edu_matrix_hub_schema._cut(finding.what);
        EXCEPTION
            WHEN lock_not_available THEN
                -- A grantee may hold it, and must not keep what is taken from it elsewhere. Repairs go on trying.
                locked := SQLERRM;
                PERFORM set_config('lock_timeout', '20ms', true);
            WHEN insufficient_privilege OR invalid_grant_operation OR undefined_object OR undefined_table
                 OR undefined_column THEN
                not_given := not_given || jsonb_build_object('what', finding.what, 'statement', finding.statement,
                                                             'error', SQLERRM);
        END;
    END LOOP;
    IF owner_is_taken THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
    END IF;
    PERFORM edu_matrix_hub_schema._forget_grantees(tenant.id);
    RETURN jsonb_strip_nulls(jsonb_build_object('given', to_jsonb(given), 'not_given', not_given, 'locked', locked));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._give_grants(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Notes whom the grants of a tenant are to at this moment, before anything is given.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._remember_grantees(tenant_id uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    UPDATE edu_matrix_hub_schema.tenant_grants AS g
    SET grantee_id = o.id, grantee_namespace_uid = o.owner_namespace_uid
    FROM edu_matrix_hub_schema.tenant_grant_targets AS w
    JOIN edu_matrix_hub_schema.tenant_schemas AS o ON o.id = w.grantee_id
    WHERE g.schema_id = $1 AND w.schema_id = $1 AND w.n = g.n
      AND (g.grantee_id, g.grantee_namespace_uid) IS DISTINCT FROM (o.id, o.owner_namespace_uid);
    UPDATE edu_matrix_hub_schema.tenant_grants AS g
    SET role_oid = w.reading[1]
    FROM edu_matrix_hub_schema.tenant_grant_targets AS w
    WHERE g.schema_id = $1 AND w.schema_id = $1 AND w.n = g.n AND g.to_role IS NOT NULL AND g.role_oid IS NULL
      AND w.reading IS NOT NULL;
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET granted_to = t.granted_to || n.grantees
    FROM (SELECT array_agg(DISTINCT w.grantee_id) AS grantees
          FROM edu_matrix_hub_schema.tenant_grant_targets AS w
          JOIN edu_matrix_hub_schema.tenant_schemas AS o ON o.id = w.schema_id AND w.grantee_id <> ALL (o.granted_to)
          WHERE w.schema_id = $1) AS n
    WHERE t.id = $1 AND n.grantees IS NOT NULL;
    INSERT INTO edu_matrix_hub_schema.tenant_grantees (schema_id, role_oid)
    SELECT r.schema_id, r.oid FROM edu_matrix_hub_schema._granted_roles(ARRAY[$1]) AS r
    ON CONFLICT DO NOTHING
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._remember_grantees(uuid) FROM PUBLIC;

-- Forgets those from whom all was taken that a tenant's grants had given them, and those who are gone.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._forget_grantees(tenant_id uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    DELETE FROM edu_matrix_hub_schema.tenant_grantees AS h
    WHERE h.schema_id = $1
      AND h.role_oid NOT IN (SELECT r.oid FROM edu_matrix_hub_schema._granted_roles(ARRAY[$1]) AS r)
      AND (NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = h.role_oid)
           OR NOT EXISTS (SELECT FROM edu_matrix_hub_schema._drift(ARRAY[$1]) AS d
                          WHERE d.kind IN ('schema', 'schema_part', 'default', 'grant', 'grant_part')))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._forget_grantees(uuid) FROM PUBLIC;

-- Lets those into a tenant's schema whom its grants are to: what a suspension takes from them is not recorded, since
-- the grants may be others when it ends.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._let_grantees_in(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    names CONSTANT text := (SELECT string_agg(quote_ident(r.name), ', ' ORDER BY r.name)
                            FROM edu_matrix_hub_schema._granted_roles(ARRAY[tenant.id]) AS r);
BEGIN
    IF names IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
        PERFORM edu_matrix_hub_schema._persist(format('GRANT USAGE ON SCHEMA %I TO %s', tenant.schema_name, names));
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._let_grantees_in(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- The grants on a tenant's schema that a suspension or a drop records: those that are not of its own grants to others.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._recorded_grants(tenant_id uuid, namespace oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT edu_matrix_hub_schema._grants_without(
        edu_matrix_hub_schema._schema_grants($2),
        ARRAY(SELECT r.rolname::text FROM edu_matrix_hub_schema.tenant_grantees AS h
              JOIN pg_roles AS r ON r.oid = h.role_oid WHERE h.schema_id = $1))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._recorded_grants(uuid, oid) FROM PUBLIC;

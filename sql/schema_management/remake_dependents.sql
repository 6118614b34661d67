-- Makes views and functions of a tenant again that were removed when one that gives it a grant was set aside
-- (_take_dependents), once that one is back and its grant is in force. One call makes fifty; `partial` when there are
-- more.
--
-- options: {schema_id or owner_uid, request?, cut_off?, requested_by?}. What could not be made again before is tried
-- again, and what was removed for good is forgotten, with another `request` than these have heard; '' is no request.
-- `cut_off` is how many attempts got no answer besides those in the log. detail: {made: [name...], empty: [name...],
-- left: [{name, note}...], forgotten, due, taken: see _taken}.
--
-- All runs as the tenant's owner, in a sandbox. Nothing that stands is replaced: what has the name of one keeps it.
-- What may pass is tried by further calls, for ten minutes. The tenant's code can keep any of it from coming to an end,
-- as _remake_references says; so after one attempt that did not they are made one by one, and after three that one is
-- not tried any more. After five such the others are not either.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.remake_dependents(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
SET client_min_messages = warning
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('make views and functions of tenant %s again',
                                edu_matrix_hub_schema._tenant_asked(options));
    tenant       edu_matrix_hub_schema.tenant_schemas;
    cut_off      bigint;
    ids          bigint[];
    facts        jsonb;
    forgotten    integer := 0;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant_meant(options);
        attempt := format('make views and functions of schema "%s" again', tenant.schema_name);
        PERFORM edu_matrix_hub_schema._require_schema(tenant);
        PERFORM edu_matrix_hub_schema._require_roles(tenant);
        IF options ->> 'request' <> '' THEN
            DELETE FROM edu_matrix_hub_schema.taken_dependents AS d
            WHERE d.schema_id = tenant.id AND d.gone_at IS NOT NULL AND d.request <> options ->> 'request';
            GET DIAGNOSTICS forgotten = ROW_COUNT;
            UPDATE edu_matrix_hub_schema.taken_dependents AS d SET note = NULL
            WHERE d.schema_id = tenant.id AND d.note IS NOT NULL AND d.remake <> '{}'
              AND d.request <> options ->> 'request';
        END IF;
        UPDATE edu_matrix_hub_schema.taken_dependents AS d SET request = options ->> 'request'
        WHERE d.schema_id = tenant.id AND options ? 'request' AND d.request IS DISTINCT FROM options ->> 'request';
        cut_off := coalesce((options ->> 'cut_off')::bigint, 0) + coalesce((
            SELECT sum(coalesce((o.metadata ->> 'attempts')::integer, 1))
            FROM edu_matrix_hub_schema.schema_operations AS o
            WHERE o.schema_id = tenant.id AND o.type = 'remake_dependents' AND o.metadata @> '{"tenant": true}'
              AND o.metadata ->> 'reason' <> 'busy' AND o.completed_at > now() - interval '1 day'
              AND o.id > coalesce((SELECT max(d.id) FROM edu_matrix_hub_schema.schema_operations AS d
                                   WHERE d.schema_id = tenant.id AND d.type = 'remake_dependents'
                                     AND d.status IN ('success', 'partial')), 0)), 0);
        -- After an attempt that did not come to an end one by one, so that it costs only the one that is the reason.
        ids := ARRAY(SELECT s.id FROM edu_matrix_hub_schema.taken_states AS s
                     WHERE s.schema_id = tenant.id AND s.state = 'due' ORDER BY s.id DESC
                     LIMIT CASE cut_off WHEN 0 THEN 50 ELSE 1 END);
        facts := edu_matrix_hub_schema._remake_taken(tenant, ids, cut_off);
        -- Rights that its grants or a block of its writes took from others meanwhile are not given back with it.
        IF facts -> 'made' <> '[]' THEN
            IF EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_grants AS g WHERE g.schema_id = tenant.id) THEN
                PERFORM edu_matrix_hub_schema._give_grants(tenant);
            END IF;
            IF tenant.taken_members IS NOT NULL THEN
                PERFORM edu_matrix_hub_schema._take_grants(tenant);
            END IF;
        END IF;
        -- Nothing that passes required policies is given for longer than this call.
        IF facts -> 'made' <> '[]'
           AND EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_row_security AS s
                       WHERE s.schema_id = tenant.id AND s.mode = 'Required')
           AND edu_matrix_hub_schema._tenant_lock(tenant.id, 'structure', false) THEN
            PERFORM edu_matrix_hub_schema._cover_tables(tenant, 100);
        END IF;
        facts := facts || jsonb_build_object(
            'forgotten', forgotten, 'due', (SELECT count(*) FROM edu_matrix_hub_schema.taken_states AS s
                                            WHERE s.schema_id = tenant.id AND s.state = 'due'),
            'taken', edu_matrix_hub_schema._taken(tenant.id));
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('remake_dependents', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    IF ids = '{}' AND forgotten = 0 THEN
        RETURN edu_matrix_hub_schema._result('unchanged',
            format('nothing of schema "%s" is to be made again', tenant.schema_name), tenant.id, facts);
    END IF;
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET reported = NULL, updated_at = now() WHERE t.id = tenant.id;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'remake_dependents',
                                       CASE WHEN facts ->> 'due' = '0' THEN 'success' ELSE 'partial' END,
                                       options ->> 'requested_by', started, attempt, facts - 'taken');
    RETURN edu_matrix_hub_schema._result(CASE WHEN facts ->> 'due' = '0' THEN 'success' ELSE 'partial' END,
        edu_matrix_hub_schema._remade_text(tenant.schema_name, facts), tenant.id, facts);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.remake_dependents(jsonb) FROM PUBLIC;

-- What is said of it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._remade_text(schema_name text, facts jsonb) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT format('schema "%s": made again: %s', schema_name, coalesce(nullif(made.names, ''), 'nothing'))
           || coalesce('; empty until REFRESH MATERIALIZED VIEW: ' || nullif(hollow.names, ''), '')
           || coalesce('; not made again: ' || remaining.names, '')
           || CASE WHEN facts ->> 'forgotten' <> '0'
                   THEN format('; %s that were removed for good are forgotten', facts ->> 'forgotten') ELSE '' END
           || CASE WHEN facts ->> 'due' <> '0' THEN format('; %s are still due, call again', facts ->> 'due')
                   ELSE '' END
    FROM (SELECT edu_matrix_hub_schema._first_names(facts -> 'made') AS names) AS made,
         (SELECT edu_matrix_hub_schema._first_names(facts -> 'empty') AS names) AS hollow,
         (SELECT string_agg(format('%s (%s)', edu_matrix_hub_schema._cut(e.value ->> 'name'), e.value ->> 'note'), ', ')
                 AS names
          FROM jsonb_array_elements(facts -> 'left') WITH ORDINALITY AS e (value, n) WHERE e.n <= 5) AS remaining
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._remade_text(text, jsonb) FROM PUBLIC;

-- Makes these again, and notes which could not be: {made, empty, left}. Each is made whole, with all that it had and
-- the rights on it, or not at all; so nothing of it is done to another object that has its name now. Materialized views
-- are left empty: what fills them may be other code by now than what their owner knew.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._remake_taken(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               ids bigint[], cut_off bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    endless CONSTANT text := 'three attempts to make it again did not come to an end';
    whole   bigint[];
    tasks   jsonb;
    results jsonb := '[]'::jsonb;
    sandbox text;
    message text;
    detail  text;
    waits   record;
    answer  jsonb;
BEGIN
    IF cut_off >= 3 THEN
        UPDATE edu_matrix_hub_schema.taken_dependents AS d SET note = endless WHERE d.id = ANY (ids);
        -- A tenant can have made thousands such, and each costs three attempts.
        IF (SELECT count(*) FROM edu_matrix_hub_schema.taken_dependents AS d
            WHERE d.schema_id = tenant.id AND d.note = endless) >= 5 THEN
            UPDATE edu_matrix_hub_schema.taken_dependents AS d
            SET note = 'it was not tried, since five others did not come to an end'
            FROM edu_matrix_hub_schema.taken_states AS s
            WHERE s.id = d.id AND s.schema_id = tenant.id AND s.state = 'due';
        END IF;
    ELSE
        PERFORM edu_matrix_hub_schema._left_by_others(tenant.id, ids);
    END IF;
    SELECT array_agg(d.id ORDER BY d.id DESC),
           jsonb_agg(jsonb_build_object('optional', true, 'statement', array_to_string(
               d.remake || edu_matrix_hub_schema._rights_again(tenant, d), '; ')) ORDER BY d.id DESC)
    INTO whole, tasks
    FROM edu_matrix_hub_schema.taken_dependents AS d WHERE d.id = ANY (ids) AND d.note IS NULL;
    IF whole IS NOT NULL THEN
        sandbox := edu_matrix_hub_schema._open_sandbox(tenant.id);
        BEGIN
            results := edu_matrix_hub_schema._enter_sandbox(tenant.id, sandbox, tasks);
        EXCEPTION WHEN SQLSTATE 'TS001' THEN
            GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
            IF (detail::jsonb ->> 'tenant')::boolean AND detail::jsonb ->> 'reason' <> 'busy' AND cut_off = 2 THEN
                PERFORM edu_matrix_hub_schema._refuse(detail::jsonb ->> 'reason',
                    message || '; it is not tried again until a user asks for it', detail::jsonb);
            END IF;
            RAISE;
        END;
        PERFORM edu_matrix_hub_schema._close_sandbox(sandbox);
    END IF;

    SELECT f.value #>> '{value,error}' AS error, f.value #> '{value,sqlstate}' AS state, d.kind, d.name INTO waits
    FROM jsonb_array_elements(results) AS f (value)
    JOIN edu_matrix_hub_schema.taken_dependents AS d ON d.id = whole[(f.value ->> 'step')::integer]
    WHERE edu_matrix_hub_schema._may_pass(f.value #>> '{value,sqlstate}', f.value #>> '{value,error}')
    ORDER BY (f.value ->> 'step')::integer LIMIT 1;
    IF FOUND AND NOT edu_matrix_hub_schema._waited_long(tenant.id, 'remake_dependents') THEN
        PERFORM edu_matrix_hub_schema._refuse('busy',
            format('%s %s cannot be made now: %s', waits.kind, edu_matrix_hub_schema._cut(waits.name),
                   edu_matrix_hub_schema._cut(waits.error)), jsonb_build_object('sqlstate', waits.state));
    END IF;

    UPDATE edu_matrix_hub_schema.taken_dependents AS d SET note = left(f.value #>> '{value,error}', 200)
    FROM jsonb_array_elements(results) AS f (value)
    WHERE d.id = whole[(f.value ->> 'step')::integer] AND f.value #>> '{value,error}' IS NOT NULL;
    SELECT jsonb_build_object(
               'made', coalesce(jsonb_agg(d.name ORDER BY d.id DESC) FILTER (WHERE d.note IS NULL), '[]'),
               'empty', coalesce(jsonb_agg(d.name ORDER BY d.id DESC)
                                 FILTER (WHERE d.note IS NULL AND d.kind = 'materialized view'), '[]'),
               'left', coalesce(jsonb_agg(jsonb_build_object('name', d.name, 'note', d.note) ORDER BY d.id DESC)
                                FILTER (WHERE d.note IS NOT NULL), '[]'))
    INTO answer
    FROM edu_matrix_hub_schema.taken_dependents AS d WHERE d.id = ANY (ids);
    DELETE FROM edu_matrix_hub_schema.taken_dependents AS d WHERE d.id = ANY (whole) AND d.note IS NULL;
    RETURN answer;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._remake_taken(edu_matrix_hub_schema.tenant_schemas, bigint[], bigint)
    FROM PUBLIC;

-- Notes which of these name a schema that is not any more the same tenant's as when they were removed, or never was a
-- tenant's: what has the name now may be a stranger's, whose code the definition would call. The other schemas stay as
-- they are until the transaction ends.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._left_by_others(tenant_id uuid, ids bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    home record;
BEGIN
    FOR home IN
        SELECT DISTINCT h.value ->> 'tenant' AS tenant, h.value ->> 'name' AS name
        FROM edu_matrix_hub_schema.taken_dependents AS d CROSS JOIN LATERAL jsonb_array_elements(d.homes) AS h (value)
        WHERE d.id = ANY (ids) AND h.value ->> 'tenant' <> tenant_id::text
    LOOP
        IF NOT edu_matrix_hub_schema._tenant_lock(home.tenant::uuid, 'structure', false) THEN
            PERFORM edu_matrix_hub_schema._refuse('busy',
                format('another call is at work on schema "%s", which they name', home.name));
        END IF;
    END LOOP;
    UPDATE edu_matrix_hub_schema.taken_dependents AS d
    SET note = format('it names schema "%s", which %s; make it yourself, if that is what you want', f.name,
                      CASE WHEN f.is_code THEN 'has code that making an index of it would run'
                           WHEN f.was THEN 'is not there, or not the one that it was' ELSE 'is no tenant''s' END)
    FROM (SELECT o.id, min(h.value ->> 'name') AS name, bool_and(h.value ? 'tenant') AS was,
                 bool_and(h.value ? 'indexed') AS is_code
          FROM edu_matrix_hub_schema.taken_dependents AS o
          CROSS JOIN LATERAL jsonb_array_elements(o.homes) AS h (value)
          WHERE o.id = ANY (ids)
            -- Making an index computes what is constant in its expressions, by code that may be another one by now.
            AND (h.value ? 'indexed'
                 OR NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                                JOIN pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
                                WHERE t.id = (h.value ->> 'tenant')::uuid AND t.schema_oid = (h.value ->> 'oid')::oid
                                  AND t.schema_name = h.value ->> 'name' AND n.nspowner = t.owner_role_oid
                                  AND t.status IN ('active', 'suspended', 'released')))
          GROUP BY o.id) AS f
    WHERE d.id = f.id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._left_by_others(uuid, bigint[]) FROM PUBLIC;

-- What a tenant lost with each other tenant, and how that stands (taken_states); null where it lost nothing:
-- [{schema, owner?, state, count, names, note?, request?}...].
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._taken(tenant_id uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'schema', g.schema_name, 'owner', CASE WHEN g.owner_name IS NOT NULL THEN
                   jsonb_build_object('namespace', g.owner_namespace, 'name', g.owner_name) END,
               'state', f.state, 'count', f.count, 'names', f.names, 'note', f.note, 'request', f.request))
               ORDER BY g.schema_name, g.id, f.state)
    FROM (SELECT s.grantor_id, s.state, count(*) AS count,
                 (array_agg(left(d.name, 160) ORDER BY d.id DESC))[:5] AS names,
                 left(min(d.note), 200) AS note, min(d.request) AS request
          FROM edu_matrix_hub_schema.taken_states AS s
          JOIN edu_matrix_hub_schema.taken_dependents AS d ON d.id = s.id
          WHERE s.schema_id = $1
          GROUP BY s.grantor_id, s.state) AS f
    JOIN edu_matrix_hub_schema.tenant_schemas AS g ON g.id = f.grantor_id
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._taken(uuid) FROM PUBLIC;

-- Turns a caught error into an answer and logs it. Every function that does work has the same last lines:
--
--     EXCEPTION
--         WHEN serialization_failure OR deadlock_detected THEN RAISE;
--         WHEN query_canceled OR OTHERS THEN
--             GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
--             RETURN edu_matrix_hub_schema._failure(type, schema_id, requested_by, started, attempt, SQLSTATE, SQLERRM,
--                                                   error_detail);
--
-- (OTHERS alone does not catch a statement_timeout.) They cannot be fewer: only the block whose statements failed can
-- catch, only its handler can ask for the DETAIL, and only the function knows by then whose call it was. One frame that
-- called functions by name would know neither tenant nor attempt. A function that answers after its block keeps the
-- message in a variable too. `attempt` is how a message begins, such as `create schema "x"`.
--
-- What another session or transaction did is `busy`: the caller tries again, and is told which session holds the
-- tenant's schema, when that can be found. Everything else is `error` with a machine-readable reason, and `retry` when
-- it may pass (_may_pass).
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._failure(
    type          text,
    schema_id     uuid,
    requested_by  text,
    started_at    timestamptz,
    attempt       text,
    state         text,
    error_message text,
    error_detail  text
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    answer_status text := 'error';
    answer_detail jsonb;
    blocker       jsonb;
    text_message  text;
BEGIN
    IF state = 'TS001' THEN
        answer_detail := error_detail::jsonb;
        text_message := 'cannot ' || attempt || ': ' || error_message;
        IF answer_detail ->> 'reason' = 'busy' THEN
            answer_status := 'busy';
            -- A lock for which a tenant's code or a statement of its own waited.
            IF answer_detail ->> 'sqlstate' LIKE '55%' AND answer_detail -> 'blocker' IS NULL THEN
                answer_detail := answer_detail
                                 || jsonb_build_object('blocker', edu_matrix_hub_schema._blocker(schema_id));
            END IF;
            text_message := text_message || coalesce(': ' || (answer_detail #>> '{blocker,text}'), '');
            answer_detail := jsonb_strip_nulls(answer_detail #- '{blocker,text}');
        END IF;
    ELSIF edu_matrix_hub_schema._may_pass(state, error_message) AND left(state, 2) IN ('40', '55', 'XX') THEN
        answer_status := 'busy';
        -- A race is over when it is told; only a session that holds a lock is still there. Most calls wait for rows,
        -- and not for tables.
        IF left(state, 2) = '55' THEN
            blocker := edu_matrix_hub_schema._blocker(schema_id,
                CASE WHEN type IN ('set_aside', 'restore', 'purge', 'backup') THEN '{}'::oid[] END);
        END IF;
        answer_detail := jsonb_strip_nulls(jsonb_build_object('sqlstate', state, 'blocker', blocker - 'text'));
        text_message := format('cannot %s now: %s%s; it will be tried again', attempt, error_message,
                               coalesce(': ' || (blocker ->> 'text'), ''));
    ELSE
        answer_detail := jsonb_build_object('sqlstate', state, 'reason',
            CASE WHEN state = '57014' THEN 'cancelled'
                 WHEN state = '42501' THEN 'insufficient_privilege'
                 ELSE 'internal' END)
            || CASE WHEN edu_matrix_hub_schema._may_pass(state, error_message) THEN '{"retry": true}'
                    ELSE '{}'::jsonb END;
        text_message := format(CASE WHEN state = '53100'
                                    THEN 'cannot %s: the disk of the database server is full: %s (SQLSTATE %s)'
                                    ELSE 'cannot %s: %s (SQLSTATE %s)' END, attempt, error_message, state);
        -- An event trigger runs with our statements and as our role: it fails there, or takes what the
        -- next statement needs.
        IF type IN ('create_tenant_schema', 'recreate_tenant_schema', 'repair_tenant_schema', 'set_tenant_access',
                    'set_row_security', 'set_aside', 'restore', 'reclaim_tenant_schema', 'bring_back', 'backup',
                    'purge')
           AND left(state, 2) IN ('22', '23', '42', 'P0') AND error_message !~ 'event trigger' THEN
            text_message := text_message || coalesce('; event triggers that may have run: '
                                                     || edu_matrix_hub_schema._event_triggers(), '');
        END IF;
        IF coalesce(error_detail, '') <> '' THEN
            answer_detail := answer_detail
                             || jsonb_build_object('error_detail', edu_matrix_hub_schema._cut_message(error_detail));
        END IF;
    END IF;
    BEGIN
        PERFORM edu_matrix_hub_schema._log(schema_id, type, answer_status, requested_by, started_at, attempt,
                                           answer_detail, text_message, nullif(state, 'TS001'));
    EXCEPTION WHEN disk_full OR insufficient_privilege THEN
        -- The caller who waits for the answer must have it, also where there is no room for its row, or
        -- none may be written.
        RAISE WARNING '%', text_message;
    END;
    RETURN edu_matrix_hub_schema._result(answer_status, text_message, schema_id, answer_detail);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._failure(text, uuid, text, timestamptz, text, text, text, text)
    FROM PUBLIC;

-- Brings back one tenant of those that were set aside since a time, and says how many are left: a TenantDatabase
-- asks for all of them, one call each. The tenant is open under its name and `released`, and `taken_over`: the next
-- TenantSchema of the namespace and name that it had gets it without saying more, also when the namespace was
-- deleted and made again.
--
-- The first call with another time than before only notes it. What is set aside after that moment stays, even if the
-- wish stays written for years, or another time was written in between.
--
-- options: {since, skip?: [backup id...], cut_off?, requested_by?}: the latest that is not in `skip` comes first, as it
-- has the name. What restore_tenant_schema refuses is its error. detail: {backup_id?, schema_name?, done, left}, where
-- `left` counts this one if it did not come back; `unchanged` without a backup_id, and with what _to_bring_back()
-- tells, when there is nothing to do beside `skip`.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.bring_back(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    requester    CONSTANT text := coalesce(options ->> 'requested_by', session_user::text);
    wanted       timestamptz;
    heard        edu_matrix_hub_schema.installation;
    chosen       edu_matrix_hub_schema.schema_backups;
    remaining    bigint;
    back         bigint;
    answer       jsonb;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        wanted := (options ->> 'since')::timestamptz;
        UPDATE edu_matrix_hub_schema.installation AS i
        SET bring_back_since = wanted, bring_back_until = coalesce(earlier.until, clock_timestamp()),
            updated_at = now(), bring_backs = CASE WHEN i.bring_back_since IS NULL THEN i.bring_backs ELSE
                (SELECT coalesce(jsonb_agg(e.value ORDER BY e.n), '[]')
                 FROM jsonb_array_elements(i.bring_backs) WITH ORDINALITY AS e (value, n)
                 WHERE (e.value ->> 'since')::timestamptz <> i.bring_back_since
                   AND e.n > jsonb_array_length(i.bring_backs) - 99)
                || jsonb_build_object('since', i.bring_back_since, 'until', i.bring_back_until) END
        FROM (SELECT max((e.value ->> 'until')::timestamptz) AS until
              FROM edu_matrix_hub_schema.installation AS o CROSS JOIN jsonb_array_elements(o.bring_backs) AS e (value)
              WHERE (e.value ->> 'since')::timestamptz = wanted) AS earlier
        WHERE i.bring_back_since IS DISTINCT FROM wanted;
        IF FOUND THEN
            PERFORM edu_matrix_hub_schema._log(NULL, 'bring_back', 'success', requester, started,
                                               format('note that what was set aside since %s is to be brought back',
                                                      wanted));
            RETURN edu_matrix_hub_schema._result('success', 'noted', NULL, '{"noted": true}');
        END IF;
        SELECT * INTO STRICT heard FROM edu_matrix_hub_schema.installation;
        SELECT count(*) FILTER (WHERE b.state = 'complete'), count(*) FILTER (WHERE b.state = 'restored')
        INTO remaining, back
        FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.method = 'SetAside' AND b.completed_at BETWEEN heard.bring_back_since AND heard.bring_back_until;
        SELECT b.* INTO chosen
        FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.method = 'SetAside' AND b.state = 'complete'
          AND b.completed_at BETWEEN heard.bring_back_since AND heard.bring_back_until
          AND b.id NOT IN (SELECT s.id::uuid
                           FROM jsonb_array_elements_text(coalesce(options -> 'skip', '[]')) AS s (id))
        ORDER BY b.completed_at DESC, b.id
        LIMIT 1;
        IF chosen.id IS NULL THEN
            RETURN edu_matrix_hub_schema._result('unchanged', 'nothing is to be brought back', NULL,
                                                 edu_matrix_hub_schema._to_bring_back());
        END IF;
        answer := edu_matrix_hub_schema.restore_tenant_schema(
            jsonb_build_object('backup_id', chosen.id, 'requested_by', requester, 'cut_off', options -> 'cut_off'));
        IF answer ->> 'status' = 'success' THEN
            -- A tenant that was made by hand waits for no TenantSchema.
            UPDATE edu_matrix_hub_schema.tenant_schemas AS t
            SET taken_over = true, owner_namespace_uid = NULL, reported = NULL, updated_at = now()
            WHERE t.id = chosen.schema_id AND t.owner_uid IS NOT NULL;
            back := back + 1;
            remaining := remaining - 1;
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('bring_back', chosen.schema_id, requester, started,
                                                  'bring back what was set aside', SQLSTATE, SQLERRM, error_detail);
    END;
    RETURN edu_matrix_hub_schema._result(answer ->> 'status', answer ->> 'message', chosen.schema_id,
        coalesce(answer -> 'detail', '{}')
        || jsonb_build_object('backup_id', chosen.id, 'schema_name', chosen.schema_name,
                              'done', back, 'left', remaining));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.bring_back(jsonb) FROM PUBLIC;

-- What the survey tells of it, so that the operator does not ask again when all are back: {since, done, left, ever,
-- latest}, or null. `ever` also counts what was purged meanwhile. `latest` is when a schema that is still set aside was
-- set aside last: a user who wrote too late a time reads it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._to_bring_back() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT (SELECT jsonb_build_object('since', i.bring_back_since, 'ever', count(*),
                'done', count(*) FILTER (WHERE b.state = 'restored'),
                'left', count(*) FILTER (WHERE b.state = 'complete'),
                'latest', (SELECT max(l.completed_at) FROM edu_matrix_hub_schema.schema_backups AS l
                           WHERE l.method = 'SetAside' AND l.state = 'complete'))
            FROM edu_matrix_hub_schema.schema_backups AS b
            WHERE b.method = 'SetAside' AND b.completed_at BETWEEN i.bring_back_since AND i.bring_back_until)
    FROM edu_matrix_hub_schema.installation AS i
    WHERE i.bring_back_since IS NOT NULL
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._to_bring_back() FROM PUBLIC;

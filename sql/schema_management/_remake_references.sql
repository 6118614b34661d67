-- Makes the recorded references again, as the tenant's owner; returns those that are not what they were: [{kind,
-- name, remake, note}...].
--
-- What may pass makes all of it `busy`, so that nothing is lost to a lock. Nothing shows from outside whether a
-- tenant's own code only says so: it is believed as long as a session is seen that holds one, and without that for ten
-- minutes.
--
-- A tenant's code can also sleep until the call is cancelled, and nothing inside of a call bounds a part of it:
-- statement_timeout is one clock for all of it, and the operator gives up a second after that has ended. It can
-- take advisory locks, or write into the results, which refuses all that the sandbox did. So each attempt that such
-- code ended lets the next one try less (_attempt_at), and the fourth brings the tenant back without entering the
-- sandbox. An attempt of which the caller got no answer, since the code caught every cancellation and was ended with
-- its session, left no row: it is `unanswered`. With `all_of_them` earlier attempts do not count: a person mended the
-- code, or a DBA cancelled the attempt.
--
-- A view that is not made again stays the empty one of _outside_references.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._remake_references(edu_matrix_hub_schema.schema_backups);
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._remake_references(edu_matrix_hub_schema.schema_backups, bigint);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._remake_references(backup edu_matrix_hub_schema.schema_backups,
                                                                    unanswered bigint, all_of_them boolean)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    refs    CONSTANT jsonb := backup.manifest -> 'references';
    cut_off CONSTANT bigint := CASE WHEN all_of_them THEN 0
                                    ELSE edu_matrix_hub_schema._cut_off(backup) + unanswered END;
    since   CONSTANT text := 'an attempt to make the references again did not come to an end';
    tasks   jsonb;
    sandbox text;
    results jsonb := '[]'::jsonb;
    waits   record;
    blocker jsonb;
    message text;
    detail  text;
    changed jsonb;
BEGIN
    IF jsonb_array_length(refs) = 0 THEN
        RETURN '[]'::jsonb;
    END IF;
    SELECT jsonb_agg(jsonb_build_object('statement', coalesce(s.statement, 'SELECT'),
                                        'tried', s.statement IS NOT NULL, 'optional', true,
                                        'fallback', CASE WHEN cut_off = 0 THEN r.value -> 'fallback' END) ORDER BY r.n)
    INTO tasks
    FROM jsonb_array_elements(refs) WITH ORDINALITY AS r (value, n)
    CROSS JOIN LATERAL edu_matrix_hub_schema._attempt_at(r.value, cut_off) AS s (statement);
    IF tasks @> '[{"tried": true}]' THEN
        sandbox := edu_matrix_hub_schema._open_sandbox(backup.schema_id);
        BEGIN
            results := edu_matrix_hub_schema._enter_sandbox(backup.schema_id, sandbox, tasks);
        EXCEPTION WHEN SQLSTATE 'TS001' THEN
            GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
            IF (detail::jsonb ->> 'tenant')::boolean AND detail::jsonb ->> 'reason' <> 'busy' THEN
                PERFORM edu_matrix_hub_schema._refuse(detail::jsonb ->> 'reason',
                    message || CASE WHEN all_of_them THEN '' ELSE
                        '; the next attempt does without '
                        || CASE cut_off WHEN 0 THEN 'checking the rows of foreign keys'
                                        WHEN 1 THEN 'views and functions'
                                        ELSE 'all references' END
                        || '; to have all of them made when that code is mended: '
                        || format('SELECT edu_matrix_hub_schema.restore_tenant_schema('
                                  '''{"backup_id": "%s", "references": "all"}'')', backup.id) END,
                    detail::jsonb);
            END IF;
            RAISE;
        END;
        PERFORM edu_matrix_hub_schema._close_sandbox(sandbox);
    END IF;

    SELECT refs -> ((f.value ->> 'step')::integer - 1) AS reference, f.value -> 'value' AS failure,
           coalesce(f.value #>> '{value,error}', f.value #>> '{value,fallback_error}') AS error
    INTO waits
    FROM jsonb_array_elements(results) AS f (value)
    WHERE edu_matrix_hub_schema._may_pass(f.value #>> '{value,sqlstate}',
                                          coalesce(f.value #>> '{value,error}', f.value #>> '{value,fallback_error}'))
    ORDER BY (f.value ->> 'step')::integer LIMIT 1;
    IF FOUND THEN
        blocker := edu_matrix_hub_schema._blocker(backup.schema_id,
            ARRAY(SELECT jsonb_array_elements_text(waits.reference -> 'relations')::oid));
        IF blocker IS NOT NULL OR NOT edu_matrix_hub_schema._waited_long(backup.schema_id, 'restore') THEN
            PERFORM edu_matrix_hub_schema._refuse('busy',
                format('%s %s cannot be made again now: %s', waits.reference ->> 'kind', waits.reference ->> 'name',
                       edu_matrix_hub_schema._cut(waits.error)),
                jsonb_build_object('sqlstate', waits.failure -> 'sqlstate', 'blocker', blocker));
        END IF;
    END IF;
    -- What is still to be done for a key that is NOT VALID is to check its rows.
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'kind', r.value -> 'kind', 'name', r.value -> 'name', 'note', n.note,
               'remake', CASE WHEN starts_with(n.note, 'is NOT VALID')
                              THEN to_jsonb(replace(r.value ->> 'take_away', ' DROP CONSTRAINT ',
                                                    ' VALIDATE CONSTRAINT '))
                              ELSE r.value -> 'remake' END) ORDER BY r.n), '[]')
    INTO changed
    FROM jsonb_array_elements(refs) WITH ORDINALITY AS r (value, n)
    JOIN jsonb_array_elements(tasks) WITH ORDINALITY AS t (value, n) USING (n)
    CROSS JOIN LATERAL (SELECT edu_matrix_hub_schema._cut(max(f.value #>> '{value,error}')) AS error,
                               max(f.value #>> '{value,fallback_error}') AS twice,
                               max(f.value #>> '{value,sqlstate}')
                                   FILTER (WHERE f.value #>> '{value,error}' IS NOT NULL) AS state
                        FROM jsonb_array_elements(results) AS f (value)
                        WHERE (f.value ->> 'step')::integer = r.n) AS failed
    CROSS JOIN LATERAL (SELECT CASE
        WHEN NOT (t.value ->> 'tried')::boolean
            THEN 'was not made again and is recorded in the backup: ' || since
        WHEN failed.error IS NULL
            THEN CASE WHEN t.value ->> 'statement' <> r.value ->> 'remake' AND cut_off > 0
                      THEN 'is NOT VALID, since its rows were not checked: ' || since END
        WHEN failed.twice IS NOT NULL OR t.value ->> 'fallback' IS NULL
            THEN 'could not be made again and is recorded in the backup: ' || failed.error
        WHEN failed.state = '23503'
            THEN 'is NOT VALID, since its rows do not match any more: ' || failed.error
        ELSE 'is NOT VALID, since its rows could not be checked: ' || failed.error END AS note) AS n
    WHERE n.note IS NOT NULL;
    RETURN edu_matrix_hub_schema._empty_views(backup.schema_id, refs, changed);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._remake_references(edu_matrix_hub_schema.schema_backups, bigint, boolean)
    FROM PUBLIC;

-- The views that former releases set aside return one row of nulls. Those that are not made again lose it;
-- one that cannot says so.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._empty_views(tenant_id uuid, refs jsonb, changed jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    no_rows   CONSTANT text := ' WHERE false';
    reference record;
    as_owner  boolean := false;
BEGIN
    FOR reference IN
        SELECT c.n, r.value ->> 'take_away' || no_rows AS statement
        FROM jsonb_array_elements(changed) WITH ORDINALITY AS c (value, n)
        JOIN jsonb_array_elements(refs) AS r (value) ON r.value ->> 'kind' = 'view'
         AND r.value ->> 'kind' = c.value ->> 'kind' AND r.value ->> 'name' = c.value ->> 'name'
        WHERE right(r.value ->> 'take_away', length(no_rows)) <> no_rows
    LOOP
        IF NOT as_owner THEN
            PERFORM edu_matrix_hub_schema._grant_tenant_owner(tenant_id);
            as_owner := true;
        END IF;
        BEGIN
            EXECUTE reference.statement;
        EXCEPTION
            WHEN serialization_failure OR deadlock_detected THEN RAISE;
            WHEN OTHERS THEN
                changed := jsonb_set(changed, ARRAY[(reference.n - 1)::text, 'note'],
                    to_jsonb(format('%s; it returns a row that is not there until this is run: %s',
                                    changed #>> ARRAY[(reference.n - 1)::text, 'note'], reference.statement)));
        END;
    END LOOP;
    IF as_owner THEN
        PERFORM edu_matrix_hub_schema._revoke_tenant_owner(tenant_id);
    END IF;
    RETURN changed;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._empty_views(uuid, jsonb, jsonb) FROM PUBLIC;

-- How many attempts at restoring this backup were ended by what the tenant wrote. What is busy is waited for instead.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cut_off(backup edu_matrix_hub_schema.schema_backups) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(sum(coalesce((o.metadata ->> 'attempts')::integer, 1)), 0)
    FROM edu_matrix_hub_schema.schema_operations AS o
    WHERE o.schema_id = backup.schema_id AND o.type = 'restore' AND o.metadata @> '{"tenant": true}'
      AND o.metadata ->> 'reason' <> 'busy'
      AND o.started_at >= backup.started_at
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cut_off(edu_matrix_hub_schema.schema_backups) FROM PUBLIC;

-- The statement that makes a reference again, between two that let a foreign key be checked. Row-level security that is
-- forced on the owner is taken off its tables for that moment: with it the server would look at the rows that the
-- policies show, and call valid what is not.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._checking_all_rows(reference jsonb) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(string_agg(format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY; ', c.oid::regclass), ''), '')
           || (reference ->> 'remake')
           || coalesce(string_agg(format('; ALTER TABLE %s FORCE ROW LEVEL SECURITY', c.oid::regclass), ''), '')
    FROM pg_class AS own
    JOIN pg_class AS c ON c.relowner = own.relowner AND c.relrowsecurity AND c.relforcerowsecurity
    WHERE reference ->> 'kind' = 'foreign key' AND own.oid = (reference #>> '{relations,0}')::oid
      AND c.oid IN (SELECT p.relid FROM pg_partition_tree(own.oid) AS p UNION ALL SELECT own.oid
                    UNION ALL SELECT (reference #>> '{relations,1}')::oid)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._checking_all_rows(jsonb) FROM PUBLIC;

-- What is tried at a reference after so many attempts that did not come to an end; null is nothing. Checking the rows
-- of a foreign key runs the expressions of indexes and takes as long as there are rows, so it is left out first. Then
-- what has constants of the tenant's types, whose domains have checks. A foreign key that is not checked runs no code;
-- it is given up only with all else. But up to PostgreSQL 17 a partitioned table takes no key without the check: there
-- it is given up with the first step, and noted.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._attempt_at(reference jsonb, cut_off bigint) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT CASE WHEN cut_off = 0 THEN edu_matrix_hub_schema._checking_all_rows(reference)
                WHEN reference ->> 'kind' = 'foreign key' AND cut_off < 3 THEN reference ->> 'fallback'
                WHEN cut_off < 2 THEN reference ->> 'remake' END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._attempt_at(jsonb, bigint) FROM PUBLIC;

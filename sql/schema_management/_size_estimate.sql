-- What the registry notes of a size that the survey could only estimate, since tables were locked or could not be read:
-- {since, told, table?, holder?, statement?, seen?}. `known` is what the survey before noted, null when it measured;
-- `namespace` is null where no lock is the reason.
--
-- A migration locks a table for a moment, and that is no news. After five minutes, after any number of surveys, it is
-- `told` in the tenant's status, with the session that holds a lock against readers. A session that locks the table
-- again at once is the same as one that never lets it go: between two of its transactions it stays named, and a status
-- does not change with every one of them. But a session that was not seen with a lock for two minutes is not named any
-- more: what a person does to a named session must not hit one that has let go. `seen` is when, to the minute, and no
-- part of what is told.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._size_estimate(known jsonb, namespace oid, at timestamptz)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    since CONSTANT jsonb := coalesce(known -> 'since',
                                     to_jsonb(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')));
    named jsonb;
BEGIN
    IF (since #>> '{}')::timestamptz > at - interval '5 minutes' THEN
        RETURN jsonb_build_object('since', since, 'told', false);
    END IF;
    SELECT CASE WHEN f.pid IS NOT NULL
                THEN jsonb_build_object('pid', f.pid, 'login', f.login, 'table', f.name,
                                        'statement', format('SELECT pg_terminate_backend(%s)', f.pid),
                                        'holder', format('session %s of login "%s"', f.pid, f.login))
                ELSE jsonb_build_object('prepared', f.gid, 'table', f.name,
                                        'statement', format('ROLLBACK PREPARED %L', f.gid),
                                        'holder', format('transaction %L, prepared by role "%s"', f.gid, f.owner)) END
    INTO named
    FROM (
        SELECT a.pid, a.usename AS login, x.gid, x.owner, c.relname AS name
        FROM pg_locks AS l
        JOIN pg_class AS c ON c.oid = l.relation AND c.relnamespace = namespace
        LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
        LEFT JOIN pg_locks AS t ON l.pid IS NULL AND t.locktype = 'transactionid' AND t.pid IS NULL
         AND t.virtualtransaction = l.virtualtransaction
        LEFT JOIN pg_prepared_xacts AS x ON x.transaction = t.transactionid
        WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted
          AND l.pid IS DISTINCT FROM pg_backend_pid()
          AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
          AND (a.usename IS NOT NULL OR x.gid IS NOT NULL)
        ORDER BY a.pid = (known ->> 'pid')::integer DESC NULLS LAST, a.xact_start NULLS LAST, a.pid, x.gid, c.oid
        LIMIT 1) AS f;
    IF named IS NULL THEN
        IF (known ->> 'seen')::timestamptz > at - interval '2 minutes'
           AND EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = (known ->> 'pid')::integer
                         AND a.usename = known ->> 'login') THEN
            RETURN known;
        END IF;
    ELSIF known ? 'seen' AND (named ->> 'pid', named ->> 'login', named ->> 'prepared') IS NOT DISTINCT FROM (
        known ->> 'pid', known ->> 'login', known ->> 'prepared') THEN
        RETURN known || CASE WHEN (known ->> 'seen')::timestamptz > at - interval '1 minute' THEN '{}'
                             ELSE jsonb_build_object('seen', at) END;
    END IF;
    RETURN jsonb_build_object('since', since, 'told', true) || coalesce(named || jsonb_build_object('seen', at), '{}');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._size_estimate(jsonb, oid, timestamptz) FROM PUBLIC;

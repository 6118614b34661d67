-- Lets those backups of a tenant expire that its schedules asked for and that its retention does not keep, now that
-- `backup_id` is complete: in 26 hours, so that the one of the next night, with a retention that was mended meanwhile,
-- comes before. Those that it keeps do not expire any more. Surveys remove what is past its time (_queue_expired).
--
-- The retention is that of this backup, as the tenant had it when it was asked for; a change of it removes nothing by
-- itself. This one stays, whatever moments a clock that was wrong gave to the others, and one that is of the future
-- takes no place. Snapshots and archives count as one, but the newest archive that was read back stays, whatever came
-- after it. What no schedule asked for is not looked at.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._apply_retention(backup_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started    CONSTANT timestamptz := clock_timestamp();
    made       edu_matrix_hub_schema.schema_backups;
    rules      jsonb;
    expired    jsonb;
    taken_back uuid[];
BEGIN
    SELECT * INTO made FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.id = _apply_retention.backup_id;
    IF made.schedule IS NULL OR made.retention IS NULL THEN
        RETURN;
    END IF;
    rules := edu_matrix_hub_schema._sound_retention(made.retention);
    WITH scheduled AS (
        SELECT array_agg(b.id ORDER BY b.completed_at, b.id) AS ids,
               array_agg(b.completed_at ORDER BY b.completed_at, b.id) AS moments
        FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.schema_id = made.schema_id AND b.schedule IS NOT NULL AND b.method IN ('Snapshot', 'Archive')
          AND b.state = 'complete'
          AND (b.completed_at <= clock_timestamp() OR b.id = made.id)
    ), proved AS (
        SELECT b.id FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.schema_id = made.schema_id AND b.schedule IS NOT NULL AND b.state = 'complete'
          AND b.verified_at IS NOT NULL AND b.completed_at <= clock_timestamp()
        ORDER BY b.completed_at DESC, b.id DESC LIMIT 1
    ), changed AS (
        UPDATE edu_matrix_hub_schema.schema_backups AS b
        SET expires_at = CASE WHEN goes.yes THEN clock_timestamp() + interval '26 hours' END,
            updated_at = clock_timestamp()
        FROM scheduled AS s
        CROSS JOIN LATERAL edu_matrix_hub_schema._kept_by_retention(s.moments, rules, clock_timestamp()) AS k
        CROSS JOIN LATERAL (
            SELECT k.kept_by = '{}' AND s.ids[k.place] IS DISTINCT FROM (SELECT p.id FROM proved AS p) AS yes) AS goes
        WHERE b.id = s.ids[k.place] AND b.id <> made.id AND b.state = 'complete'
          AND goes.yes <> (b.expires_at IS NOT NULL)
        RETURNING b.id, b.location, b.completed_at, b.expires_at
    )
    SELECT jsonb_agg(jsonb_build_object('backup_id', e.id, 'location', e.location, 'completed_at', e.completed_at)
                     ORDER BY e.completed_at) FILTER (WHERE e.expires_at IS NOT NULL),
           array_agg(e.id) FILTER (WHERE e.expires_at IS NULL)
    INTO expired, taken_back FROM changed AS e;
    -- A removal that only waits for this very snapshot would still come.
    UPDATE edu_matrix_hub_schema.schema_jobs AS j
    SET state = 'cancelled', finished_at = clock_timestamp()
    WHERE j.backup_id = ANY (taken_back) AND j.kind IN ('purge', 'remove_archive') AND j.state = 'requested'
      AND j.requested_by = 'expiry';
    IF expired IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._log(made.schema_id, 'retention', 'success', made.requested_by, started,
            format('let %s older backups of schema "%s" expire', jsonb_array_length(expired), made.schema_name),
            jsonb_build_object('backup_id', made.id, 'retention', made.retention, 'expired', expired));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._apply_retention(uuid) FROM PUBLIC;

-- A retention as this server can follow it: one with an older list of time zones keeps days of UTC. It is an error now
-- what would be one when a backup is complete.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._sound_retention(retention jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    BEGIN
        PERFORM now() AT TIME ZONE (retention ->> 'time_zone');
    EXCEPTION WHEN invalid_parameter_value THEN
        retention := retention - 'time_zone';
    END;
    PERFORM FROM edu_matrix_hub_schema._kept_by_retention(ARRAY[now()], retention, now());
    RETURN retention;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._sound_retention(jsonb) FROM PUBLIC;

-- Why each of these backups stays at `at`, and nothing for one that does not. `place` counts `moments` from 1.
--
-- retention: {keep_last?, keep_daily?, keep_weekly?, keep_monthly?, keep_yearly?, max_age_days?, time_zone?}. Of each
-- of so many days, weeks, months or years that have a backup the newest one stays; they are those of the time zone.
-- With `max_age_days` none stays that is older, and without another field all others do. The newest of all stays in any
-- case.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._kept_by_retention(moments timestamptz[], retention jsonb,
                                                                    at timestamptz)
RETURNS TABLE (place bigint, kept_by text[])
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH ordered AS (
        SELECT m.place, m.moment, row_number() OVER (ORDER BY m.moment DESC, m.place DESC) AS age
        FROM unnest($1) WITH ORDINALITY AS m (moment, place)
    ), rule (name, unit) AS (
        VALUES ('keep_daily', 'day'), ('keep_weekly', 'week'), ('keep_monthly', 'month'), ('keep_yearly', 'year')
    ), newest AS (
        SELECT r.name, min(o.age) AS age, row_number() OVER (PARTITION BY r.name ORDER BY p.period DESC) AS number
        FROM ordered AS o
        CROSS JOIN rule AS r
        CROSS JOIN LATERAL date_trunc(r.unit, o.moment AT TIME ZONE coalesce($2 ->> 'time_zone', 'UTC')) AS p (period)
        WHERE $2 ? r.name
        GROUP BY r.name, p.period
    ), reason AS (
        SELECT n.age, n.name FROM newest AS n WHERE n.number <= ($2 ->> n.name)::integer
        UNION ALL
        SELECT o.age, 'keep_last' FROM ordered AS o WHERE o.age <= ($2 ->> 'keep_last')::integer
        UNION ALL
        SELECT o.age, 'max_age_days' FROM ordered AS o
        WHERE NOT $2 ?| ARRAY['keep_last', 'keep_daily', 'keep_weekly', 'keep_monthly', 'keep_yearly']
    )
    SELECT o.place, coalesce(array_agg(r.name ORDER BY r.name) FILTER (WHERE r.name IS NOT NULL), '{}')
    FROM ordered AS o
    LEFT JOIN (SELECT n.age, n.name FROM reason AS n
               JOIN ordered AS k ON k.age = n.age
               WHERE k.moment >= $3 - make_interval(days => ($2 ->> 'max_age_days')::integer)
                     OR NOT $2 ? 'max_age_days'
               UNION ALL SELECT 1, 'newest') AS r ON r.age = o.age
    GROUP BY o.place
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._kept_by_retention(timestamptz[], jsonb, timestamptz) FROM PUBLIC;

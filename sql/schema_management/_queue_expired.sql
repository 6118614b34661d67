-- Queues the removal of expired backups, oldest first and five hundred at a time, and returns how many; a survey calls
-- it. A removal that was begun or asked for and did not come to its end, because something is in its way, is queued
-- again after an hour.
--
-- options: {now?, limit?}. A backup is past its time only by both clocks, the server's and `now`, which is the
-- operator's: one that jumped ahead takes nothing away. It waits for a person while the database is kept quiet, and
-- when it is past its time by more than three days, since where there is a survey every minute that comes from an
-- outage or a restore. And of backups that are all that is left of their tenant, those of at most `limit` tenants are
-- queued within an hour; then all of that kind stop (`expiry_stopped_at`) until a person confirms. _held_backups()
-- tells what waits.
--
-- It also removes sandboxes that no open job owns, left behind when an operator went away in the middle of a job. One
-- that is still in use by a session that has not noticed yet is left for the next time.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._queue_expired(text);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._queue_expired(options jsonb DEFAULT '{}') RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    at      CONSTANT timestamptz := least(now(), (options ->> 'now')::timestamptz);
    most    CONSTANT integer := coalesce((options ->> 'limit')::integer, 50);
    expired record;
    orphan  record;
    recent  uuid[];
    stopped timestamptz;
    queued  integer := 0;
BEGIN
    SELECT i.expiry_stopped_at INTO stopped FROM edu_matrix_hub_schema.installation AS i;
    FOR expired IN
        SELECT e.id, e.schema_id, e.is_last AND NOT e.is_begun AND NOT e.is_confirmed AS is_braked
        FROM edu_matrix_hub_schema._expired_backups(at) AS e
        WHERE NOT e.is_held
        ORDER BY e.expires_at
        LIMIT 500
    LOOP
        IF expired.is_braked THEN
            IF recent IS NULL THEN
                SELECT coalesce(array_agg(DISTINCT j.schema_id), '{}') INTO recent
                FROM edu_matrix_hub_schema.schema_jobs AS j
                JOIN edu_matrix_hub_schema.schema_backups AS b ON b.id = j.backup_id
                WHERE j.kind IN ('purge', 'remove_archive') AND j.requested_by = 'expiry'
                  AND j.requested_at > now() - interval '1 hour'
                  AND b.expires_at <= j.requested_at
                  AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                                  WHERE t.id = j.schema_id AND t.status <> 'dropped');
            END IF;
            IF expired.schema_id <> ALL (recent) AND cardinality(recent) >= most THEN
                IF stopped IS NULL THEN
                    stopped := at;
                    UPDATE edu_matrix_hub_schema.installation AS i SET expiry_stopped_at = at;
                END IF;
                CONTINUE;
            END IF;
            recent := recent || expired.schema_id;
        END IF;
        IF edu_matrix_hub_schema._queue_purge(expired.id, 'expiry') IS NOT NULL THEN
            queued := queued + 1;
        END IF;
    END LOOP;
    -- What archives left in the store that failed or were cancelled, and the removal of it did not come to its end.
    PERFORM edu_matrix_hub_schema._queue_left_uploads(u.backup_id)
    FROM (SELECT DISTINCT l.backup_id FROM edu_matrix_hub_schema.archive_uploads AS l WHERE l.ended_at IS NULL) AS u
    JOIN edu_matrix_hub_schema.schema_backups AS b ON b.id = u.backup_id AND b.state IN ('failed', 'cancelled')
    WHERE NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j
                      WHERE j.backup_id = b.id AND j.kind = 'remove_archive'
                        AND (j.state IN ('requested', 'running') OR j.finished_at > now() - interval '1 hour'))
    LIMIT 500;
    FOR orphan IN
        SELECT n.nspname
        FROM pg_namespace AS n
        WHERE n.nspname >= 'edu_matrix_work_' AND n.nspname < 'edu_matrix_work`' AND n.nspowner = current_user::regrole
          AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j
                          WHERE j.sandbox = n.nspname AND j.state IN ('requested', 'running'))
        -- Any of them: one that a session holds must not keep its place at the front.
        ORDER BY random()
        LIMIT 5
    LOOP
        PERFORM edu_matrix_hub_schema._close_sandbox(orphan.nspname);
    END LOOP;
    RETURN queued;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._queue_expired(jsonb) FROM PUBLIC;

-- The backups whose removal is due at `at` and is not under way, and what is to be known before it is queued: whether
-- it was begun before, whether the backup is all that is left of its tenant, whether a person has confirmed it, and
-- whether it has to wait.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._expired_backups(at timestamptz)
RETURNS TABLE (id uuid, schema_id uuid, expires_at timestamptz, is_begun boolean, is_last boolean, is_confirmed boolean,
               is_held boolean, is_quiet boolean)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH due AS (
        SELECT b.id, b.schema_id, b.expires_at,
               b.state = 'purging'
               OR EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j
                          WHERE j.backup_id = b.id AND j.kind IN ('purge', 'remove_archive')
                            AND j.state = 'failed') AS is_begun,
               NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                           WHERE t.id = b.schema_id AND t.status <> 'dropped') AS is_last,
               coalesce(i.confirmed_until >= greatest(b.expires_at, i.quiet_since, i.expiry_stopped_at), false)
                   AS is_confirmed,
               coalesce(i.quiet_until > clock_timestamp(), false) AS is_quiet,
               i.expiry_stopped_at IS NOT NULL AS is_stopped
        FROM edu_matrix_hub_schema.schema_backups AS b
        CROSS JOIN edu_matrix_hub_schema.installation AS i
        WHERE b.state IN ('complete', 'purging') AND NOT edu_matrix_hub_schema._world_moved()
          AND (b.expires_at < at
               OR (b.state = 'purging' AND b.updated_at < now() - interval '1 hour')
               OR EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j
                          WHERE j.backup_id = b.id AND j.kind IN ('purge', 'remove_archive')
                            AND j.state = 'failed'
                            -- A retention may have taken the expiry back since.
                            AND (j.requested_by <> 'expiry' OR b.expires_at IS NOT NULL)))
          AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j
                          WHERE j.backup_id = b.id AND j.kind IN ('purge', 'remove_archive')
                            AND (j.state IN ('requested', 'running') OR j.finished_at > now() - interval '1 hour'))
    )
    SELECT d.id, d.schema_id, d.expires_at, d.is_begun, d.is_last, d.is_confirmed,
           NOT d.is_confirmed
           AND (d.is_quiet
                OR (NOT d.is_begun AND (d.expires_at < at - interval '3 days' OR (d.is_last AND d.is_stopped)))),
           d.is_quiet
    FROM due AS d
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._expired_backups(timestamptz) FROM PUBLIC;

-- The backups that are past their time and wait for a person, or null: {count, confirm, stopped}. Which moment
-- confirms all of them, in whole seconds as an annotation has it, and whether it is because too many expired at once.
-- A backup that waits only while the database is kept quiet is not counted.
--
-- When nothing waits any more, or a person has confirmed, expiry goes on.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._held_backups(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    held      record;
    installed edu_matrix_hub_schema.installation;
BEGIN
    SELECT * INTO installed FROM edu_matrix_hub_schema.installation AS i;
    SELECT count(*) AS count, max(e.expires_at) AS newest INTO held
    FROM edu_matrix_hub_schema._expired_backups(least(now(), (options ->> 'now')::timestamptz)) AS e
    WHERE e.is_held AND NOT e.is_quiet;
    IF installed.expiry_stopped_at IS NOT NULL
       AND (held.count = 0 OR installed.confirmed_until >= installed.expiry_stopped_at)
       AND NOT coalesce(installed.quiet_until > clock_timestamp(), false) THEN
        UPDATE edu_matrix_hub_schema.installation AS i SET expiry_stopped_at = NULL;
    END IF;
    RETURN CASE WHEN held.count > 0 THEN jsonb_build_object(
        'count', held.count, 'stopped', installed.expiry_stopped_at IS NOT NULL,
        'confirm', date_trunc('second', greatest(held.newest, installed.quiet_since, installed.expiry_stopped_at))
                   + interval '1 s') END;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._held_backups(jsonb) FROM PUBLIC;

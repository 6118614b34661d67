-- Looks after all tenants of the database at once: drift, usage, expired backups, the length of the log. options:
-- {everything?: bool, slice?: 0 to 9, now?, confirmed_until?, expiry_limit?, institutions?, salts?, vacuuming?: bool};
-- the last six are the operator's clock, up to when a person confirmed that things are taken away, how many tenants'
-- last backups may expire in an hour, the application's own table of institutions or null (see _read_institutions),
-- what was found of the logins that the survey before named (see _passwords_to_try), and that the operator is still at
-- work on the tables that an earlier survey named (see _live_parts_due). Answers the state of the world (see
-- heartbeat_lane), what expired and waits, totals, logins to try, and the tenants and backups that changed since the
-- survey before; besides all tenants, or those of a slice, which is the first byte of their id modulo 10.
--
-- Nothing is read per tenant unless something about it changed. Fingerprints and write signatures of all tenants come
-- from two scans of the catalogue; only where a fingerprint differs is drift worked out, and only where a signature
-- differs are sizes taken, or where a session holds a lock to write, of a bounded number of relations a tick, in no
-- order, so that none waits for good behind others. A table that a session has locked against readers holds a
-- measurement up for 50 ms at most; it is estimated, its schema is marked stale, does not become smaller and is
-- measured again by a later survey. The registry is written in one statement, only rows that changed, and never waits
-- for a row that another call is just changing.
--
-- Asking a relation for its exact size leaves several kilobytes of cache in the session, which nothing takes
-- back. So of a schema of more than 2,000 tables no more than that are asked, the rest is estimated by them, and
-- it is always marked stale.
--
-- Large objects of all tenants are counted together, and again only when one came, went or was written, or after ten
-- minutes (see _large_objects).
--
-- The figures are a snapshot's, not a lock's: a tenant that writes meanwhile is measured again by the next survey.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.survey_tenants(epoch bigint, installation_id uuid,
                                                                options jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET jit = off  -- Compiling these queries takes longer than running them, at any number of tenants.
AS $function$
DECLARE
    relations_per_tick CONSTANT integer := 10000;
    exactly_at_most    CONSTANT integer := 2000;
    time_per_tick      CONSTANT interval := interval '5 seconds';
    started            CONSTANT timestamptz := clock_timestamp();
    day_ago            CONSTANT timestamptz := started - interval '1 day';
    everything         CONSTANT boolean := coalesce((options ->> 'everything')::boolean, false);
    slice              CONSTANT integer := (options ->> 'slice')::integer;
    answer             jsonb;
    active             record;
    measured_ids       uuid[] := '{}'::uuid[];
    measured_bytes     bigint[] := '{}'::bigint[];
    measured_tables    integer[] := '{}'::integer[];
    measured_marks     numeric[] := '{}'::numeric[];
    measured_exactly   boolean[] := '{}'::boolean[];
    measured_foreign   jsonb[] := '{}'::jsonb[];
    measured_estimate  jsonb[] := '{}'::jsonb[];
    bytes              bigint;
    mark               numeric;
    how                text;
    writing            oid[];
    large_mark         text;
    large_is_news      boolean;
    large_found        jsonb := '{}'::jsonb;
    taken              integer := 0;
    suspects           uuid[];
    suspect_marks      numeric[];
    changed            uuid[];
    unbound            bigint;
    source_problem     text;
    error_detail       text;
BEGIN
    answer := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    PERFORM FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = 'survey' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN edu_matrix_hub_schema._result('busy', 'cannot survey the tenants now: another survey is under way');
    END IF;
    BEGIN
        -- Rows that are rarely written, and then hold up heartbeats for the length of one survey.
        UPDATE edu_matrix_hub_schema.installation AS i
        SET confirmed_until = (options ->> 'confirmed_until')::timestamptz
        WHERE options ? 'now' AND i.confirmed_until IS DISTINCT FROM (options ->> 'confirmed_until')::timestamptz;
        UPDATE edu_matrix_hub_schema.installation AS i SET quiet_until = started + interval '4 hours'
        WHERE i.quiet_until > started + interval '4 hours';
        IF (SELECT i.surveyed_at FROM edu_matrix_hub_schema.installation AS i) < started - interval '1 day' THEN
            PERFORM edu_matrix_hub_schema._keep_quiet('no operator looked after it for more than a day, '
                                                      'or the clock of the server jumped ahead');
        END IF;

        -- An operator of a former release does not say where institutions are.
        IF options ? 'institutions' THEN
            source_problem := edu_matrix_hub_schema._read_institutions(nullif(options -> 'institutions', 'null'));
        END IF;

        PERFORM edu_matrix_hub_schema._note_salts(options -> 'salts');

        -- Which schemas were written to, or are locked to be written to, perhaps without a commit so far, and how large
        -- are they now? Those without a mark are measured again. A lock of a prepared transaction has no pid.
        SELECT coalesce(array_agg(DISTINCT c.relnamespace), '{}') INTO writing
        FROM pg_locks AS l
        JOIN pg_class AS c ON c.oid = l.relation
        WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
          AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
          AND l.mode IN ('RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                         'ExclusiveLock', 'AccessExclusiveLock');
        FOR active IN
            SELECT a.schema_id, a.namespace, a.table_count, a.relation_count, a.signature, t.usage_at, t.storage_used,
                   t.owner_role_oid, t.size_estimate
            FROM edu_matrix_hub_schema.schema_activity AS a
            JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = a.schema_id
            WHERE a.signature IS DISTINCT FROM t.write_signature OR a.namespace = ANY (writing)
            ORDER BY t.usage_at IS NOT NULL OR t.usage_stale, random()
        LOOP
            IF taken < relations_per_tick AND clock_timestamp() - started < time_per_tick THEN
                taken := taken + least(active.relation_count, exactly_at_most);
                SELECT m.bytes, m.how INTO bytes, how
                FROM edu_matrix_hub_schema._measure_schema(active.namespace, exactly_at_most) AS m;
                mark := CASE WHEN how IN ('exact', 'sampled') THEN active.signature END;
                -- What could not be opened may have grown, and has not shrunk as far as is known.
                bytes := CASE WHEN how = 'locked' THEN greatest(bytes, active.storage_used)
                              ELSE coalesce(bytes, active.storage_used) END;
            ELSIF active.usage_at IS NULL THEN
                bytes := NULL;
                mark := NULL;
                how := 'waits';
            ELSE
                -- A later survey's turn; what is known of it stays until then.
                CONTINUE;
            END IF;
            measured_ids := measured_ids || active.schema_id;
            measured_bytes := measured_bytes || bytes;
            measured_tables := measured_tables || active.table_count;
            measured_marks := measured_marks || mark;
            measured_exactly := measured_exactly || (how = 'exact');
            measured_estimate := array_append(measured_estimate,
                CASE WHEN how IN ('locked', 'unknown', 'unreadable') THEN
                    edu_matrix_hub_schema._size_estimate(
                        active.size_estimate, CASE WHEN how <> 'unreadable' THEN active.namespace END, started) END);
            measured_foreign := array_append(measured_foreign,
                edu_matrix_hub_schema._foreign_tables(active.namespace, active.owner_role_oid));
        END LOOP;

        large_mark := edu_matrix_hub_schema._large_objects_mark();
        large_is_news := everything OR large_mark IS DISTINCT FROM (SELECT i.large_objects_mark
                                                                    FROM edu_matrix_hub_schema.installation AS i);
        IF large_is_news AND large_mark IS NOT NULL THEN
            SELECT coalesce(jsonb_object_agg(l.schema_id, l.large_objects), '{}') INTO large_found
            FROM edu_matrix_hub_schema._large_objects() AS l;
        END IF;

        -- Which tenants' owner, grants or roles are not as they were when last found right?
        SELECT coalesce(array_agg(t.id), '{}'), coalesce(array_agg(f.fingerprint), '{}') INTO suspects, suspect_marks
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        LEFT JOIN edu_matrix_hub_schema.tenant_fingerprints AS f ON f.schema_id = t.id
        WHERE t.status IN ('active', 'suspended') AND f.fingerprint IS DISTINCT FROM t.fingerprint;

        IF edu_matrix_hub_schema._contest() IS NULL THEN
            PERFORM edu_matrix_hub_schema._queue_expired(jsonb_build_object('now', options -> 'now',
                                                                            'limit', options -> 'expiry_limit'));
        END IF;
        PERFORM edu_matrix_hub_schema._prune_log();
        PERFORM edu_matrix_hub_schema._end_idle_transactions(started);
        PERFORM edu_matrix_hub_schema._end_lost_adoptions(started);
        PERFORM edu_matrix_hub_schema._end_left_tenant_sessions();
        PERFORM edu_matrix_hub_schema._look_at_isolation(started);

        WITH measured AS (
            SELECT * FROM unnest(measured_ids, measured_bytes, measured_tables, measured_marks, measured_exactly,
                                 measured_foreign, measured_estimate)
                          AS m (id, bytes, tables, mark, exactly, foreign_tables, size_estimate)
        ), freed AS (
            SELECT f.schema_id AS id, f.bytes FROM edu_matrix_hub_schema._freed_bytes() AS f
        ), drifting AS (
            SELECT d.schema_id AS id, d.drift FROM edu_matrix_hub_schema._tenant_drifts(suspects) AS d
        ), next AS (
            SELECT t.id,
                   CASE WHEN large_is_news THEN large_found -> t.id::text
                        ELSE t.large_objects END AS large_objects,
                   coalesce(m.bytes, t.storage_used) AS storage_used,
                   -- Not more than half of what the files have is left out.
                   least(coalesce(f.bytes, 0), coalesce(m.bytes, t.storage_used) / 2) AS freed_bytes,
                   coalesce(m.tables, t.table_count) AS table_count,
                   CASE WHEN m.id IS NULL THEN t.foreign_tables ELSE m.foreign_tables END AS foreign_tables,
                   CASE WHEN m.id IS NULL THEN t.size_estimate ELSE m.size_estimate END AS size_estimate,
                   coalesce(NOT m.exactly, t.usage_stale) AS usage_stale,
                   CASE WHEN m.mark IS NOT NULL THEN started ELSE t.usage_at END AS usage_at,
                   -- No schema has the signature -1.
                   CASE WHEN m.id IS NULL THEN t.write_signature ELSE coalesce(m.mark, -1) END AS write_signature,
                   CASE WHEN s.id IS NULL THEN t.fingerprint WHEN d.id IS NULL THEN s.mark END AS fingerprint,
                   CASE WHEN t.status NOT IN ('active', 'suspended') THEN '[]'
                        ELSE coalesce(d.drift, '[]') END AS drift,
                   CASE WHEN n.oid IS NULL THEN edu_matrix_hub_schema._schema_absence(t) END AS absence
            FROM edu_matrix_hub_schema.tenant_schemas AS t
            LEFT JOIN measured AS m ON m.id = t.id
            LEFT JOIN freed AS f ON f.id = t.id
            LEFT JOIN unnest(suspects, suspect_marks) AS s (id, mark) ON s.id = t.id
            LEFT JOIN drifting AS d ON d.id = t.id
            LEFT JOIN pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
            WHERE t.status <> 'dropped'
        ), report AS (
            SELECT next.*,
                   CASE WHEN t.quota_limit IS NULL OR t.growth_at > day_ago THEN t.growth
                        ELSE edu_matrix_hub_schema._growth(
                            t.growth, next.storage_used - next.freed_bytes
                                      + coalesce((next.large_objects ->> 'bytes')::bigint, 0),
                            extract(epoch FROM started - t.growth_at)::double precision / 86400) END AS growth,
                   CASE WHEN t.quota_limit IS NULL OR t.growth_at > day_ago THEN t.growth_at
                        ELSE started END AS growth_at,
                   hashtextextended(concat_ws(
                       '|', t.status, t.access, next.storage_used, nullif(next.freed_bytes, 0),
                       next.table_count, next.usage_stale, next.drift,
                       next.absence IS NULL, next.absence, work.jobs, work.backup, next.foreign_tables,
                       next.large_objects,
                       CASE WHEN (next.size_estimate ->> 'told')::boolean THEN next.size_estimate - 'seen' END,
                       nullif(coalesce(nullif(i.status, 'active'), i.source_status), 'active'), t.isolation,
                       s.digest, s.table_count, s.uncovered, s.uncovered_count, s.forced, lost.states
                   ), 0) AS reported
            FROM next
            JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = next.id
            LEFT JOIN edu_matrix_hub_schema.institutions AS i ON i.id = t.institution_id
            LEFT JOIN edu_matrix_hub_schema.tenant_row_security AS s ON s.schema_id = t.id
            LEFT JOIN (
                SELECT o.schema_id, string_agg(o.state, ' ' ORDER BY o.id) AS states
                FROM edu_matrix_hub_schema.taken_states AS o GROUP BY o.schema_id) AS lost ON lost.schema_id = t.id
            LEFT JOIN (
                SELECT w.schema_id, string_agg(w.job, ' ' ORDER BY w.job) AS jobs, max(w.backup) AS backup
                FROM (SELECT j.schema_id, j.id || j.state AS job, NULL AS backup
                      FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.state IN ('requested', 'running')
                      UNION ALL
                      SELECT b.schema_id, NULL, b.completed_at::text || b.id
                      FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.state = 'complete') AS w
                GROUP BY w.schema_id) AS work ON work.schema_id = t.id
        ), different AS (
            SELECT t.id
            FROM edu_matrix_hub_schema.tenant_schemas AS t
            JOIN report AS r ON r.id = t.id
            WHERE (t.storage_used, t.freed_bytes, t.large_objects, t.growth, t.growth_at,
                   t.table_count, t.foreign_tables, t.size_estimate, t.usage_stale, t.usage_at,
                   t.write_signature, t.fingerprint, t.drift, t.reported)
                  IS DISTINCT FROM
                  (r.storage_used, r.freed_bytes, r.large_objects, r.growth, r.growth_at,
                   r.table_count, r.foreign_tables, r.size_estimate, r.usage_stale, r.usage_at,
                   r.write_signature, r.fingerprint, r.drift, r.reported)
            FOR UPDATE OF t SKIP LOCKED
        ), written AS (
            UPDATE edu_matrix_hub_schema.tenant_schemas AS t
            SET storage_used = r.storage_used, freed_bytes = r.freed_bytes, large_objects = r.large_objects,
                growth = r.growth, growth_at = r.growth_at,
                table_count = r.table_count, foreign_tables = r.foreign_tables,
                size_estimate = r.size_estimate, usage_stale = r.usage_stale, usage_at = r.usage_at,
                write_signature = r.write_signature, fingerprint = r.fingerprint, drift = r.drift, reported = r.reported
            FROM report AS r JOIN different AS d ON d.id = r.id
            WHERE t.id = r.id
            RETURNING t.id
        )
        SELECT coalesce(array_agg(r.id) FILTER (
                   WHERE everything OR get_byte(uuid_send(r.id), 0) % 10 = slice OR r.drift <> '[]'
                         OR (w.id IS NOT NULL AND t.reported IS DISTINCT FROM r.reported)), '{}'),
               count(*) FILTER (WHERE r.absence ->> 'kind' = 'unbound')
        INTO changed, unbound
        FROM report AS r
        JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = r.id
        LEFT JOIN written AS w ON w.id = r.id;

        SELECT jsonb_build_object(
            'surveyed_at', started,
            'unbound_count', unbound,
            'institution_problem', source_problem,
            'tenant_count', count(*),
            'owned_count', count(*) FILTER (WHERE t.owner_uid IS NOT NULL),
            'storage_bytes', coalesce(sum(t.storage_used + coalesce((t.large_objects ->> 'bytes')::bigint, 0)), 0),
            'stale_count', count(*) FILTER (WHERE t.usage_stale),
            'not_isolated_count', count(*) FILTER (WHERE t.isolation <> '[]'))
        INTO answer
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.status <> 'dropped';

        SELECT answer || jsonb_build_object(
            'set_aside_count', count(*) FILTER (WHERE b.method = 'SetAside' AND b.state IN ('complete', 'purging')),
            'set_aside_bytes', coalesce(sum(b.size_bytes) FILTER (WHERE b.method = 'SetAside'
                                                                    AND b.state IN ('complete', 'purging')), 0),
            'jobs_waiting', (SELECT count(*) FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.state = 'requested'))
        INTO answer
        FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.state IN ('complete', 'purging');

        WITH reported AS (
            UPDATE edu_matrix_hub_schema.schema_backups AS b
            SET reported_update = b.updated_at
            WHERE b.id IN (SELECT u.id FROM edu_matrix_hub_schema.schema_backups AS u
                           WHERE u.reported_update IS DISTINCT FROM u.updated_at
                              -- An operator that asks for everything perhaps got neither the answer before this one nor
                              -- the one before that: no two surveys are further apart than an hour.
                              OR everything AND u.updated_at > (SELECT i.surveyed_at - interval '2 hours'
                                                                FROM edu_matrix_hub_schema.installation AS i)
                           FOR UPDATE SKIP LOCKED)
            RETURNING b.id, b.object_cluster, b.object_namespace, b.object_name, b.object_uid
        )
        SELECT answer || jsonb_build_object('backups_changed', coalesce(jsonb_agg(jsonb_build_object(
            'backup_id', r.id,
            'object', CASE WHEN r.object_uid IS NOT NULL THEN jsonb_build_object(
                'cluster', r.object_cluster, 'namespace', r.object_namespace, 'name', r.object_name,
                'uid', r.object_uid) END)), '[]'))
        INTO answer
        FROM reported AS r;

        SELECT answer || jsonb_build_object('tenants', coalesce(jsonb_agg(
            r.document || jsonb_build_object('schema_exists', n.oid IS NOT NULL, 'drift', t.drift,
                'grants', g.grants,
                'taken', CASE WHEN x.schema_id IS NOT NULL THEN edu_matrix_hub_schema._taken(t.id) END,
                'absence', CASE WHEN n.oid IS NULL THEN edu_matrix_hub_schema._schema_absence(t) END)), '[]'))
        INTO answer
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        JOIN edu_matrix_hub_schema.tenant_rows AS r ON r.schema_id = t.id
        LEFT JOIN pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
        LEFT JOIN edu_matrix_hub_schema._grant_states(
            ARRAY(SELECT DISTINCT d.schema_id FROM edu_matrix_hub_schema.tenant_grants AS d
                  WHERE everything OR d.schema_id = ANY (changed))) AS g ON g.schema_id = t.id
        LEFT JOIN (SELECT DISTINCT o.schema_id FROM edu_matrix_hub_schema.taken_dependents AS o) AS x
          ON x.schema_id = t.id
        WHERE t.status <> 'dropped' AND (everything OR t.id = ANY (changed));

        answer := answer || jsonb_build_object('expiry', edu_matrix_hub_schema._held_backups(options),
                                               'bring_back', edu_matrix_hub_schema._to_bring_back(),
                                               'live_parts_due', CASE WHEN (options ->> 'vacuuming')::boolean THEN '[]'
                                                   ELSE edu_matrix_hub_schema._live_parts_due() END,
                                               'logins_to_try', CASE WHEN options ? 'salts' THEN
                                                   edu_matrix_hub_schema._passwords_to_try(started) ELSE '[]' END);
        UPDATE edu_matrix_hub_schema.installation AS i
        SET surveyed_at = started, beats = i.beats + 1, large_objects_mark = large_mark,
            -- A holder of a former release has no heartbeat and no number.
            heartbeat_at = CASE WHEN i.claim_id IS NOT NULL THEN clock_timestamp() END;
        answer := answer || edu_matrix_hub_schema._state_of_world();
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('survey_tenants', NULL, NULL, started, 'survey the tenants',
                                                  SQLSTATE, SQLERRM, error_detail);
    END;
    RETURN answer;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.survey_tenants(bigint, uuid, jsonb) FROM PUBLIC;

-- The size of a schema's tables with their indexes and TOAST, of its materialized views and sequences, and how it was
-- found. A relation that was dropped meanwhile has no size, nor has a schema that is missing.
--
--   exact       each table was opened; a sequence is one page
--   sampled     of more tables than `most` the larger half of that number was opened, by what the counters say, and as
--               many of the rest, which stand for all of the rest; a tenant cannot know which those are
--   locked      tables that a session has locked against readers were counted by what is known of them without
--               opening: their indexes and TOAST, and the pages and rows that were counted last
--   unknown     neither, since even their indexes are locked; bytes is null
--   unreadable  the server could not read one of them; bytes is null
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._measure_schema(oid, boolean);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._measure_schema(namespace oid, most integer,
                                                                 OUT bytes bigint, OUT how text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '50ms'
AS $function$
DECLARE
    locked oid[] := '{}'::oid[];
BEGIN
    FOR attempt IN 1 .. 2 LOOP
        BEGIN
            WITH own AS MATERIALIZED (
                SELECT c.oid, c.relkind, greatest(c.relpages, 0) AS pages, c.oid = ANY (locked) AS is_locked,
                       CASE WHEN c.relkind <> 'S' THEN
                                pg_stat_get_live_tuples(c.oid) + pg_stat_get_dead_tuples(c.oid) END AS tuples
                FROM pg_depend AS d
                JOIN pg_class AS c ON c.oid = d.objid
                WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace
                  AND d.classid = 'pg_class'::regclass
                  AND c.relkind IN ('r', 'm', 'S')
            ), ranked AS (
                SELECT o.oid, o.is_locked, o.pages, o.tuples,
                       row_number() OVER (ORDER BY greatest(o.pages, o.tuples) DESC) <= most / 2 AS is_large,
                       count(*) OVER () AS count
                FROM own AS o WHERE o.relkind <> 'S'
            ), drawn AS (
                -- The key is the installation's own, so which tables are drawn stays the same and cannot be told.
                SELECT r.*, row_number() OVER (PARTITION BY r.is_large
                                               ORDER BY hashint8extended(r.oid::bigint, i.fingerprint_key)) AS place
                FROM ranked AS r CROSS JOIN edu_matrix_hub_schema.installation AS i
            ), opened AS (
                SELECT w.is_large, CASE
                           WHEN NOT w.is_locked THEN pg_total_relation_size(w.oid)
                           -- A row takes at least 28 bytes.
                           ELSE greatest(w.pages, w.tuples / 290) * current_setting('block_size')::bigint + coalesce(
                                (SELECT sum(pg_relation_size(p.oid))
                                 FROM (SELECT t.reltoastrelid FROM pg_class AS t
                                       WHERE t.oid = w.oid AND t.reltoastrelid <> 0
                                       UNION ALL SELECT x.indexrelid FROM pg_index AS x
                                                 WHERE x.indrelid = w.oid) AS p (oid)
                                 WHERE p.oid <> ALL (locked)), 0)
                       END AS size
                FROM drawn AS w WHERE w.is_large OR w.count <= most OR w.place <= most - most / 2
            ), summed AS (
                SELECT o.is_large, coalesce(sum(o.size), 0) AS size, count(*) AS opened,
                       (SELECT count(*) FROM ranked AS r WHERE r.is_large = o.is_large) AS standing
                FROM opened AS o GROUP BY o.is_large
            )
            SELECT (SELECT coalesce(sum(s.size * s.standing / s.opened), 0) FROM summed AS s)::bigint
                   + (SELECT count(*) FROM own AS o WHERE o.relkind = 'S') * current_setting('block_size')::bigint,
                   CASE WHEN (SELECT bool_or(o.is_locked) FROM own AS o) THEN 'locked'
                        WHEN (SELECT max(r.count) FROM ranked AS r) > most THEN 'sampled' ELSE 'exact' END
            INTO bytes, how;
            RETURN;
        EXCEPTION
            WHEN lock_not_available THEN
                SELECT coalesce(array_agg(l.relation), '{}') INTO locked
                FROM pg_locks AS l
                WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
                  AND l.pid IS DISTINCT FROM pg_backend_pid();
            WHEN OTHERS THEN
                -- A file that cannot be read is one tenant's, and must not hide the others.
                RAISE LOG 'cannot measure the schema with OID %: % (%)', namespace, SQLERRM, SQLSTATE;
                bytes := NULL;
                how := 'unreadable';
                RETURN;
        END;
    END LOOP;
    bytes := NULL;
    how := 'unknown';
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._measure_schema(oid, integer) FROM PUBLIC;

-- Removes old rows of the log, once an hour and a bounded number, but never the last one of a kind about a tenant; what
-- ended with tenants that were removed for good as long ago; and, since schedules make some of each tenant every night,
-- jobs that ended a week ago, but for the last one of a tenant, by which tenants take turns, and what is known of
-- backups of schedules that are gone, or came to nothing, as long ago.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._prune_log() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    keep_for CONSTANT interval := interval '90 days';
BEGIN
    UPDATE edu_matrix_hub_schema.installation AS i SET pruned_at = now()
    WHERE i.pruned_at IS NULL OR i.pruned_at < now() - interval '1 hour';
    IF FOUND THEN
        DELETE FROM edu_matrix_hub_schema.schema_operations AS o
        WHERE o.id IN (
            SELECT old.id
            FROM edu_matrix_hub_schema.schema_operations AS old
            WHERE old.started_at < now() - keep_for
              AND EXISTS (SELECT FROM edu_matrix_hub_schema.schema_operations AS newer
                          WHERE newer.schema_id IS NOT DISTINCT FROM old.schema_id
                            AND newer.type = old.type AND newer.id > old.id)
            ORDER BY old.started_at
            LIMIT 5000);
        DELETE FROM edu_matrix_hub_schema.taken_dependents AS d WHERE d.gone_at < now() - keep_for;
        DELETE FROM edu_matrix_hub_schema.schema_jobs AS j
        WHERE j.id IN (
            SELECT old.id
            FROM edu_matrix_hub_schema.schema_jobs AS old
            WHERE (old.state = 'done'
                   OR old.kind IN ('snapshot', 'archive') AND old.state IN ('failed', 'cancelled'))
              AND old.finished_at < now() - interval '7 days'
              AND EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS newer
                          WHERE newer.schema_id = old.schema_id AND newer.started_at > old.started_at)
            LIMIT 5000);
        DELETE FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.id IN (
            SELECT old.id
            FROM edu_matrix_hub_schema.schema_backups AS old
            WHERE old.schedule IS NOT NULL AND old.state IN ('purged', 'failed', 'cancelled')
              AND old.updated_at < now() - keep_for
              AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.backup_id = old.id)
              AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.archive_uploads AS u
                              WHERE u.backup_id = old.id AND u.ended_at IS NULL)
            LIMIT 5000);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._prune_log() FROM PUBLIC;

-- Begins an attempt at an archive: what it will write into the store is known before the first byte is written, so that
-- the next attempt, or the removal, finds what an operator left that was killed. It refuses as a snapshot does when the
-- tenant's owner role cannot read every table whole; an archive of a part would look like one of all. An error has
-- ended the attempt. Begun before with the same options, it is `unchanged` with the same detail.
--
-- options: {attempt: uuid, store, location, manifest_location}; the keys begin with the id of the installation. detail:
-- {backup_id, schema_id, schema_name, schema_oid, owner_role, server_version_num, verification, leftovers: [{attempt,
-- store, location, manifest_location}...]}. `leftovers` are what earlier attempts began and did not end: the caller
-- deletes it, and says so by drop_upload(). There may be twenty of them; then the backup fails, since what cannot be
-- deleted must not become more.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.begin_archive(epoch bigint, installation_id uuid, job_id uuid,
                                                               options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    answer        jsonb := edu_matrix_hub_schema._hold_job(epoch, installation_id, job_id, 'archive', false);
    place         CONSTANT text := begin_archive.installation_id || '/';
    attempt       text := format('begin the archive of job %s', job_id);
    given         edu_matrix_hub_schema.archive_uploads;
    known         edu_matrix_hub_schema.archive_uploads;
    job           edu_matrix_hub_schema.schema_jobs;
    backup        edu_matrix_hub_schema.schema_backups;
    tenant        edu_matrix_hub_schema.tenant_schemas;
    leftovers     jsonb;
    wanted        bigint;
    error_message text;
    error_detail  text;
    error_state   text;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    SELECT * INTO STRICT job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = begin_archive.job_id;
    SELECT * INTO STRICT backup FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.id = job.backup_id;
    attempt := format('begin an archive of schema "%s"', backup.schema_name);
    BEGIN
        given.attempt := (options ->> 'attempt')::uuid;
        given.store := options ->> 'store';
        given.location := options ->> 'location';
        given.manifest_location := options ->> 'manifest_location';
        IF given.attempt IS NULL OR given.store IS NULL
           OR (starts_with(given.location, place) AND starts_with(given.manifest_location, place)) IS NOT TRUE
           OR greatest(length(given.store), length(given.location), length(given.manifest_location)) > 1024 THEN
            PERFORM edu_matrix_hub_schema._refuse('internal',
                format('an attempt, a store and two keys that begin with "%s" are needed, of 1024 characters at most',
                       place));
        END IF;
        SELECT * INTO known FROM edu_matrix_hub_schema.archive_uploads AS u WHERE u.attempt = given.attempt;
        IF known.attempt IS NOT NULL
           AND (known.job_id, known.job_attempt, known.store, known.location, known.manifest_location,
                known.ended_at IS NULL)
               IS DISTINCT FROM (job.id, job.attempt, given.store, given.location, given.manifest_location, true) THEN
            PERFORM edu_matrix_hub_schema._refuse('internal',
                format('attempt %s was begun before, with other options or by another job', given.attempt));
        END IF;
        tenant := edu_matrix_hub_schema._lock_tenant(job.schema_id, 'structure', false);
        PERFORM edu_matrix_hub_schema._require_roles(tenant);
        PERFORM edu_matrix_hub_schema._refuse_unreadable(tenant, (
            SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.relation) FILTER (WHERE t.problem IS NOT NULL), '[]')
            FROM (SELECT edu_matrix_hub_schema._require_schema(tenant) AS oid) AS n
            CROSS JOIN LATERAL edu_matrix_hub_schema._snapshot_tables(
                n.oid, edu_matrix_hub_schema._require_reader(tenant, n.oid)) AS t));
        -- The session that counts locks every table, and so does the program; what the lock table lacks then, others
        -- lack.
        SELECT 2 * count(*) INTO wanted FROM pg_class AS c
        WHERE c.relnamespace = tenant.schema_oid AND c.relkind IN ('r', 'p');
        IF wanted > edu_matrix_hub_schema._lock_budget() THEN
            PERFORM edu_matrix_hub_schema._refuse('too_many_tables',
                format('its %s tables take %s locks at once and an archive may take %s (half of '
                       'max_locks_per_transaction * (max_connections + max_prepared_transactions)); raise '
                       'max_locks_per_transaction to %s', wanted / 2, wanted, edu_matrix_hub_schema._lock_budget(),
                       ceil(2.2 * wanted / (current_setting('max_connections')::numeric
                                            + current_setting('max_prepared_transactions')::numeric))),
                jsonb_build_object('tables', wanted / 2, 'locks', wanted,
                                   'budget', edu_matrix_hub_schema._lock_budget()));
        END IF;
        SELECT coalesce(jsonb_agg(jsonb_build_object('attempt', u.attempt, 'store', u.store, 'location', u.location,
                                                     'manifest_location', u.manifest_location)
                                  ORDER BY u.begun_at, u.attempt), '[]')
        INTO leftovers
        FROM edu_matrix_hub_schema.archive_uploads AS u
        WHERE u.backup_id = backup.id AND u.ended_at IS NULL AND u.attempt <> given.attempt;
        IF jsonb_array_length(leftovers) >= 20 THEN
            PERFORM edu_matrix_hub_schema._refuse('internal',
                'what 20 attempts left in the store could not be deleted; let the credentials of the store delete, or '
                'delete there what the catalogue''s table archive_uploads lists, and make another backup');
        END IF;
        IF known.attempt IS NULL THEN
            INSERT INTO edu_matrix_hub_schema.archive_uploads
                (attempt, backup_id, job_id, job_attempt, store, location, manifest_location)
            VALUES (given.attempt, backup.id, job.id, job.attempt, given.store, given.location,
                    given.manifest_location);
        END IF;
        UPDATE edu_matrix_hub_schema.schema_jobs AS j SET heartbeat_at = clock_timestamp() WHERE j.id = job.id;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            error_state := SQLSTATE;
    END;
    IF error_state IS NOT NULL THEN
        RETURN edu_matrix_hub_schema._job_answer(job, edu_matrix_hub_schema._failure('backup', job.schema_id,
            job.requested_by, started, attempt, error_state, error_message, error_detail));
    END IF;
    RETURN edu_matrix_hub_schema._result(CASE WHEN known.attempt IS NULL THEN 'success' ELSE 'unchanged' END,
        format('archive of schema "%s" begun', tenant.schema_name), tenant.id,
        jsonb_build_object('backup_id', backup.id, 'schema_id', tenant.id, 'schema_name', tenant.schema_name,
                           'schema_oid', tenant.schema_oid::bigint, 'owner_role', tenant.owner_role,
                           'server_version_num', current_setting('server_version_num')::integer,
                           'verification', backup.verification, 'leftovers', leftovers));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.begin_archive(bigint, uuid, uuid, jsonb) FROM PUBLIC;

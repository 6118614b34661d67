-- Notes what is free in tables of a tenant that is blocked for its quota, after they were vacuumed as its owner: of
-- each file what it has now, less what it had when the tenant was blocked times the rows that are left of those from
-- then. So rows that were deleted here and there count, although a file shrinks only at its end. It is an estimate,
-- since rows are not all of one size. A VACUUM that skips no page has counted the rows exactly; a table that was not
-- vacuumed, since a session had it locked, is left for another time.
--
-- options: {schema_id, tables: [oid...], requested_by?}. detail: {freed_bytes, vacuumed: n}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.note_live_part(epoch bigint, installation_id uuid, options jsonb)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('note what is free in tenant %s', options ->> 'schema_id');
    answer       jsonb := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    tenant       edu_matrix_hub_schema.tenant_schemas;
    vacuumed     integer;
    freed        bigint;
    error_detail text;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    BEGIN
        tenant := edu_matrix_hub_schema._lock_tenant((options ->> 'schema_id')::uuid, 'access', true);
        attempt := format('note what is free in schema "%s"', tenant.schema_name);
        IF (tenant.access, tenant.access_cause) IS DISTINCT FROM ('WriteBlocked', 'Quota') THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('schema "%s" is not blocked for its quota any more', tenant.schema_name), tenant.id);
        END IF;
        WITH seen AS (
            SELECT f.relation_oid, f.file, f.bytes, f.rows,
                   -- The first VACUUM makes a map of the file.
                   CASE WHEN q.rows IS NULL THEN greatest(q.bytes, f.bytes) ELSE q.bytes END AS former_bytes,
                   pg_stat_get_live_tuples(f.relation_oid) AS live,
                   pg_stat_get_tuples_deleted(f.relation_oid) AS deleted,
                   -- What was deleted after the block and before the first VACUUM. The counter has deletes too that
                   -- were rolled back, and the server's own VACUUM may have come first.
                   coalesce(q.rows, f.rows + greatest(least(
                       pg_stat_get_tuples_deleted(f.relation_oid) - q.deleted,
                       greatest(q.dead, q.live - pg_stat_get_live_tuples(f.relation_oid))), 0)) AS former_rows
            FROM edu_matrix_hub_schema._files_of(ARRAY(
                SELECT x.value::oid FROM jsonb_array_elements_text(options -> 'tables') AS x (value))) AS f
            JOIN edu_matrix_hub_schema.quota_files AS q
              ON q.schema_id = tenant.id AND q.relation_oid = f.relation_oid AND q.file = f.file
            JOIN edu_matrix_hub_schema.tenant_sessions AS s ON s.schema_id = tenant.id
            -- A number that no VACUUM writes was restored as a statistic.
            WHERE f.rows >= 0 AND f.rows < 'Infinity' AND pg_stat_get_last_vacuum_time(f.relation_oid) >= s.opened_at
        )
        UPDATE edu_matrix_hub_schema.quota_files AS q
        SET bytes = n.former_bytes, rows = greatest(n.former_rows, n.rows), live_after = n.live,
            deleted_after = n.deleted, tries = 0,
            freed = greatest(n.bytes - n.former_bytes * least(n.rows / greatest(n.former_rows, n.rows, 1), 1), 0)
        FROM seen AS n
        WHERE q.schema_id = tenant.id AND q.relation_oid = n.relation_oid;
        GET DIAGNOSTICS vacuumed = ROW_COUNT;
        SELECT least(coalesce(sum(f.bytes), 0), tenant.storage_used / 2)::bigint INTO freed
        FROM edu_matrix_hub_schema._freed_bytes() AS f WHERE f.schema_id = tenant.id;
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET freed_bytes = freed, reported = NULL, updated_at = now()
        WHERE t.id = tenant.id AND t.freed_bytes <> freed;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('note_live_part', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    RETURN edu_matrix_hub_schema._result('success',
        format('%s bytes of schema "%s" are free since rows were deleted', freed, tenant.schema_name), tenant.id,
        jsonb_build_object('freed_bytes', freed, 'vacuumed', vacuumed));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.note_live_part(bigint, uuid, jsonb) FROM PUBLIC;

-- Takes a snapshot of a tenant at once, by hand: a timestamped, consistent copy of its data beside it, with the
-- definitions of everything else in the catalogue of backups. It is lost when the database that it is in is lost
-- (docs/snapshots.md).
--
-- It is one transaction, which for its duration keeps the tenant from being suspended or dropped by others (they
-- are told `busy`); a snapshot that the operator takes as a job is prepared in a transaction of its own and
-- keeps only the drop away.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.backup_institution_schema(schema_id uuid)
RETURNS TABLE (status text, message text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('take a snapshot of tenant %s', coalesce(schema_id::text, '(none)'));
    tenant       edu_matrix_hub_schema.tenant_schemas;
    backup       CONSTANT uuid := gen_random_uuid();
    sandbox      text;
    facts        jsonb;
    answer       jsonb;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant(schema_id, 'structure', false);
        -- Both end with a change of the tenant's row and of memberships, a suspension in the other order.
        tenant := edu_matrix_hub_schema._lock_tenant(schema_id, 'access', true);
        attempt := format('take a snapshot of schema "%s"', tenant.schema_name);
        sandbox := edu_matrix_hub_schema._open_sandbox(tenant.id);
        facts := edu_matrix_hub_schema._make_snapshot(tenant.id, sandbox);
        PERFORM edu_matrix_hub_schema._close_sandbox(sandbox);
        INSERT INTO edu_matrix_hub_schema.schema_backups (id, schema_id, institution_id, schema_name, method,
                                                          requested_by, started_at)
        VALUES (backup, tenant.id, tenant.institution_id, tenant.schema_name, 'Snapshot', session_user, started);
        PERFORM edu_matrix_hub_schema._record_backup(backup, facts);
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            answer := edu_matrix_hub_schema._failure('backup', tenant.id, NULL, started, attempt,
                                                     SQLSTATE, SQLERRM, error_detail);
            RETURN QUERY SELECT answer ->> 'status', answer ->> 'message';
            RETURN;
    END;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'backup', 'success', NULL, started, attempt,
                                       (facts - 'manifest') || jsonb_build_object('backup_id', backup));
    RETURN QUERY SELECT 'success', format('snapshot %s of schema "%s" is schema "%s": %s tables, %s rows',
                                          backup, tenant.schema_name,
                                          facts ->> 'location', facts ->> 'table_count', facts ->> 'row_count')
                                   || edu_matrix_hub_schema._undescribed_text(facts -> 'left_out');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.backup_institution_schema(uuid) FROM PUBLIC;

-- Writes into the catalogue that a backup is complete, and what _make_snapshot found or record_archive() was told.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._record_snapshot(uuid, jsonb);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._record_backup(backup_id uuid, facts jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    UPDATE edu_matrix_hub_schema.schema_backups AS b
    SET state = 'complete', location = facts ->> 'location',
        location_oid = CASE WHEN b.method <> 'Archive' THEN to_regnamespace(quote_ident(facts ->> 'location')) END,
        manifest = coalesce(nullif(facts -> 'manifest', 'null'), '{}'),
        size_bytes = (facts ->> 'size_bytes')::bigint,
        table_count = (facts ->> 'table_count')::integer, row_count = (facts ->> 'row_count')::bigint,
        checksum = facts ->> 'checksum', store = facts ->> 'store',
        artefact_sha256 = facts ->> 'artefact_sha256', manifest_sha256 = facts ->> 'manifest_sha256',
        verified_how = facts ->> 'verified_how', verified_by = facts ->> 'verified_by', unproved = facts ->> 'unproved',
        verified_at = CASE WHEN facts ->> 'verified_how' IS NOT NULL THEN clock_timestamp() END,
        error = NULL, completed_at = clock_timestamp(), expires_at = clock_timestamp()
            + make_interval(days => b.expire_after_days),
        updated_at = clock_timestamp()
    WHERE b.id = _record_backup.backup_id;
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET last_backup = clock_timestamp(), updated_at = clock_timestamp()
    FROM edu_matrix_hub_schema.schema_backups AS b
    WHERE b.id = _record_backup.backup_id AND t.id = b.schema_id;
    PERFORM edu_matrix_hub_schema._apply_retention(_record_backup.backup_id);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._record_backup(uuid, jsonb) FROM PUBLIC;

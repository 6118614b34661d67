-- Accepts, by hand, that tables of what was set aside are lost: from then on a restore asks for those that stand now,
-- and for no others. What is dropped later is refused again. The log keeps which were missing.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.accept_missing_tables(backup_id uuid)
RETURNS TABLE (status text, message text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('accept the missing tables of backup %s', coalesce(backup_id::text, '(none)'));
    backup       edu_matrix_hub_schema.schema_backups;
    namespace    oid;
    lost         jsonb;
    answer       jsonb;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.id = accept_missing_tables.backup_id AND b.method = 'SetAside'
          AND b.state = 'complete' FOR NO KEY UPDATE;
        IF backup.id IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', 'nothing of that id is set aside');
        END IF;
        attempt := format('accept the missing tables of "%s"', backup.location);
        namespace := edu_matrix_hub_schema._require_location(backup);
        IF namespace IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('schema_missing',
                                                  format('schema "%s" is missing in the database', backup.location));
        END IF;
        lost := edu_matrix_hub_schema._missing_tables(backup, namespace);
        IF lost IS NULL THEN
            RETURN QUERY SELECT 'unchanged', format('no table of "%s" is missing', backup.location);
            RETURN;
        END IF;
        UPDATE edu_matrix_hub_schema.schema_backups AS b
        SET manifest = b.manifest || jsonb_build_object('tables', edu_matrix_hub_schema._tables_of(namespace)),
            updated_at = clock_timestamp()
        WHERE b.id = backup.id;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            answer := edu_matrix_hub_schema._failure('accept_missing_tables', backup.schema_id, session_user, started,
                                                     attempt, SQLSTATE, SQLERRM, error_detail);
            RETURN QUERY SELECT answer ->> 'status', answer ->> 'message';
            RETURN;
    END;
    PERFORM edu_matrix_hub_schema._log(backup.schema_id, 'accept_missing_tables', 'success',
                                       session_user, started, attempt,
                                       lost || jsonb_build_object('backup_id', backup.id));
    RETURN QUERY SELECT 'success',
           format('%s of %s tables of "%s" are accepted as lost; it can be restored without them',
                  lost ->> 'missing', lost ->> 'tables', backup.location);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.accept_missing_tables(uuid) FROM PUBLIC;

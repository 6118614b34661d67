-- Removes a backup for good, by hand: a snapshot, or a schema that was set aside together with its roles. It works in
-- bounded parts: `partial` means that one is done; commit, and call again until it says `success`.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.purge_schema_backup(backup_id uuid)
RETURNS TABLE (status text, message text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    answer jsonb := edu_matrix_hub_schema._purge(backup_id, session_user);
BEGIN
    IF answer ->> 'status' = 'success' THEN
        -- A queued removal has nothing left to do.
        UPDATE edu_matrix_hub_schema.schema_jobs AS j SET state = 'done', finished_at = clock_timestamp()
        WHERE j.backup_id = purge_schema_backup.backup_id AND j.kind = 'purge' AND j.state = 'requested';
    END IF;
    RETURN QUERY SELECT answer ->> 'status', answer ->> 'message';
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.purge_schema_backup(uuid) FROM PUBLIC;

-- Gives a backup in the catalogue to the SchemaBackup that has the place of the one that asked for it: of
-- the same cluster, namespace and name, applied again after that one was gone. Nothing else changes. Done
-- before, it is `unchanged`.
--
-- options: {backup_id, object: {cluster, namespace, name, uid, namespace_uid?}, requested_by?}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.adopt_backup(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    requester    CONSTANT text := coalesce(options ->> 'requested_by', session_user::text);
    attempt      CONSTANT text := format('adopt backup %s', coalesce(options ->> 'backup_id', '(none)'));
    backup       edu_matrix_hub_schema.schema_backups;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.id = (options ->> 'backup_id')::uuid FOR NO KEY UPDATE;
        IF backup.id IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', 'there is no such backup');
        ELSIF (backup.object_cluster, backup.object_namespace, backup.object_name)
              IS DISTINCT FROM (options #>> '{object,cluster}', options #>> '{object,namespace}',
                                options #>> '{object,name}')
              OR options #>> '{object,uid}' IS NULL
              OR backup.object_namespace_uid <> options #>> '{object,namespace_uid}' THEN
            PERFORM edu_matrix_hub_schema._refuse('not_owner', 'it is of another SchemaBackup, or of none');
        END IF;
        UPDATE edu_matrix_hub_schema.schema_backups AS b
        SET object_uid = options #>> '{object,uid}',
            object_namespace_uid = coalesce(options #>> '{object,namespace_uid}', b.object_namespace_uid)
        WHERE b.id = backup.id AND b.object_uid IS DISTINCT FROM options #>> '{object,uid}';
        IF NOT FOUND THEN
            RETURN edu_matrix_hub_schema._result('unchanged', format('backup %s is of this SchemaBackup', backup.id),
                                                 backup.schema_id, jsonb_build_object('backup_id', backup.id));
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('adopt_backup', backup.schema_id, requester, started, attempt,
                                                  SQLSTATE, SQLERRM, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(backup.schema_id, 'adopt_backup', 'success', requester, started, attempt,
                                       jsonb_build_object('backup_id', backup.id, 'object', options -> 'object',
                                                          'former_uid', backup.object_uid));
    RETURN edu_matrix_hub_schema._result('success', format('backup %s is of this SchemaBackup', backup.id),
                                         backup.schema_id, jsonb_build_object('backup_id', backup.id));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.adopt_backup(jsonb) FROM PUBLIC;

-- Notes that what an attempt at an archive had begun is deleted from the store. Noted before, it is `unchanged`, and so
-- is an attempt whose files are the archive: that one was ended when it was recorded.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.drop_upload(epoch bigint, installation_id uuid, attempt uuid)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    answer CONSTANT jsonb := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    upload edu_matrix_hub_schema.archive_uploads;
    tenant uuid;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    SELECT * INTO upload FROM edu_matrix_hub_schema.archive_uploads AS u
    WHERE u.attempt = drop_upload.attempt FOR UPDATE;
    IF upload.attempt IS NULL THEN
        RETURN edu_matrix_hub_schema._result('error', format('there is no upload of attempt %s', attempt), NULL,
                                             '{"reason": "not_found"}');
    END IF;
    SELECT b.schema_id INTO tenant FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.id = upload.backup_id;
    IF upload.ended_at IS NOT NULL THEN
        RETURN edu_matrix_hub_schema._result('unchanged', format('the upload of attempt %s is ended', attempt), tenant,
                                             jsonb_build_object('backup_id', upload.backup_id));
    END IF;
    UPDATE edu_matrix_hub_schema.archive_uploads AS u SET ended_at = clock_timestamp()
    WHERE u.attempt = upload.attempt;
    RETURN edu_matrix_hub_schema._result('success', format('the upload of attempt %s is ended', attempt), tenant,
                                         jsonb_build_object('backup_id', upload.backup_id));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.drop_upload(bigint, uuid, uuid) FROM PUBLIC;

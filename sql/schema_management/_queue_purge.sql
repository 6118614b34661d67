-- Queues the removal of a backup that holds something and whose removal is not queued yet; returns the job or null.
-- An archive is removed by a program that reaches its store, by a job of another kind than a schema. It is the
-- SchemaBackup that waits for it, or for what was set aside when a TenantSchema was deleted, that one.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._queue_purge(backup_id uuid, requested_by text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    job uuid;
BEGIN
    INSERT INTO edu_matrix_hub_schema.schema_jobs
        (kind, backup_id, schema_id, object_kind, object_namespace, object_name, object_uid, requested_by)
    SELECT CASE b.method WHEN 'Archive' THEN 'remove_archive' ELSE 'purge' END, b.id, b.schema_id, o.*,
           _queue_purge.requested_by
    FROM edu_matrix_hub_schema.schema_backups AS b
    LEFT JOIN LATERAL (
        SELECT 'SchemaBackup', b.object_namespace, b.object_name, b.object_uid WHERE b.object_uid IS NOT NULL
        UNION ALL
        SELECT 'TenantSchema', t.owner_namespace, t.owner_name, t.owner_uid
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE b.method = 'SetAside' AND t.id = b.schema_id AND t.owner_uid IS NOT NULL) AS o ON true
    WHERE b.id = _queue_purge.backup_id AND b.state IN ('complete', 'purging')
    ON CONFLICT DO NOTHING
    RETURNING id INTO job;
    UPDATE edu_matrix_hub_schema.schema_backups AS b SET updated_at = clock_timestamp()
    WHERE b.id = _queue_purge.backup_id AND job IS NOT NULL;
    RETURN job;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._queue_purge(uuid, text) FROM PUBLIC;

-- Queues the removal of what the attempts at an archive left in the store that failed or was cancelled; returns the job
-- or null. No object waits for it. An operator that is still at it hears of its end by a heartbeat, or is gone after
-- the time for which a job is believed to be alive; only then nothing more comes.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._queue_left_uploads(backup_id uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    job uuid;
BEGIN
    INSERT INTO edu_matrix_hub_schema.schema_jobs (kind, backup_id, schema_id, requested_by, not_before)
    SELECT 'remove_archive', b.id, b.schema_id, 'uploads', clock_timestamp() + interval '2 min'
    FROM edu_matrix_hub_schema.schema_backups AS b
    WHERE b.id = _queue_left_uploads.backup_id AND b.method = 'Archive' AND b.state IN ('failed', 'cancelled')
      AND EXISTS (SELECT FROM edu_matrix_hub_schema.archive_uploads AS u
                  WHERE u.backup_id = b.id AND u.ended_at IS NULL)
    ON CONFLICT DO NOTHING
    RETURNING id INTO job;
    RETURN job;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._queue_left_uploads(uuid) FROM PUBLIC;

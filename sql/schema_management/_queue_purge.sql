-- Queues the removal of a backup that holds something and whose removal is not queued yet; returns the job or null.
-- It is the SchemaBackup that waits for it, or for what was set aside when a TenantSchema was deleted, that one.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._queue_purge(backup_id uuid, requested_by text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    job uuid;
BEGIN
    INSERT INTO edu_matrix_hub_schema.schema_jobs
        (kind, backup_id, schema_id, object_kind, object_namespace, object_name, object_uid, requested_by)
    SELECT 'purge', b.id, b.schema_id, o.*, _queue_purge.requested_by
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

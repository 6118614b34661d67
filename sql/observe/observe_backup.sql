-- What the database knows about one backup of a TenantSchema: its catalogue row, its newest job, and the tenant that a
-- request for it would concern. It reads only.
--
-- request: {cluster, namespace, name, uid, namespace_uid?, method?, backup_id?, tenant_uid? or tenant: {namespace,
-- name}}: the SchemaBackup, and whose backup it is to be. A row is found by the object's uid, by its id, which must be
-- of this object, or, with a method, as what an object of the same namespace and name finished of the same tenant:
-- applied again from Git, it is the same backup to a person. A backup that was removed because it had expired is
-- finished; one that was removed on request is not.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.observe_backup(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    backup edu_matrix_hub_schema.schema_backups;
    job    edu_matrix_hub_schema.schema_jobs;
    tenant edu_matrix_hub_schema.tenant_schemas;
BEGIN
    PERFORM edu_matrix_hub_schema._need_all_rows();
    SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.object_uid = request ->> 'uid';
    IF backup.id IS NULL AND request ->> 'backup_id' IS NOT NULL THEN
        -- Re-created under the same name, it is the same object to a person; the uid is another one.
        SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.id = (request ->> 'backup_id')::uuid AND b.object_cluster = request ->> 'cluster'
          AND b.object_namespace = request ->> 'namespace' AND b.object_name = request ->> 'name'
          AND (b.object_namespace_uid = request ->> 'namespace_uid') IS NOT FALSE;
    END IF;
    SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t
    WHERE t.status <> 'dropped'
      AND CASE WHEN request ->> 'tenant_uid' IS NOT NULL THEN t.owner_uid = request ->> 'tenant_uid'
               ELSE t.owner_cluster = request ->> 'cluster' AND t.owner_namespace = request #>> '{tenant,namespace}'
                    AND t.owner_name = request #>> '{tenant,name}'
                    AND (t.owner_namespace_uid = request ->> 'namespace_uid') IS NOT FALSE END
    ORDER BY t.created_at DESC LIMIT 1;
    IF backup.id IS NULL AND tenant.id IS NOT NULL THEN
        SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.schema_id = tenant.id AND b.method = request ->> 'method' AND b.object_cluster = request ->> 'cluster'
          AND b.object_namespace = request ->> 'namespace' AND b.object_name = request ->> 'name'
          AND (b.object_namespace_uid = request ->> 'namespace_uid') IS NOT FALSE
          AND (b.state = 'complete' OR b.state = 'purged' AND b.expires_at <= b.purged_at)
        ORDER BY b.completed_at DESC LIMIT 1;
    END IF;
    -- What a failed or cancelled archive left in the store says nothing of the backup when it is removed.
    SELECT * INTO job FROM edu_matrix_hub_schema.schema_jobs AS j
    WHERE j.backup_id = backup.id AND (j.kind <> 'remove_archive' OR backup.state NOT IN ('failed', 'cancelled'))
    ORDER BY j.requested_at DESC, j.id LIMIT 1;
    RETURN jsonb_build_object(
        'backup', CASE WHEN backup.id IS NOT NULL THEN edu_matrix_hub_schema._backup_row(backup) END,
        'job', CASE WHEN job.id IS NOT NULL THEN jsonb_build_object(
            'job_id', job.id, 'kind', job.kind, 'state', job.state, 'attempt', job.attempt, 'error', job.error,
            'reason', job.reason, 'waits', edu_matrix_hub_schema._job_waits(job)) END,
        'tenant', CASE WHEN tenant.id IS NOT NULL THEN edu_matrix_hub_schema._claim(tenant) END);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.observe_backup(jsonb) FROM PUBLIC;

-- A catalogue row as callers see it, without the manifest.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._backup_row(backup edu_matrix_hub_schema.schema_backups) RETURNS jsonb
LANGUAGE sql STABLE
AS $function$
    SELECT pg_catalog.jsonb_build_object(
        'backup_id', backup.id, 'schema_id', backup.schema_id, 'schema_name', backup.schema_name,
        'method', backup.method, 'location', backup.location, 'state', backup.state,
        'started_at', backup.started_at, 'completed_at', backup.completed_at,
        'size_bytes', backup.size_bytes, 'table_count', backup.table_count, 'row_count', backup.row_count,
        'checksum', backup.checksum, 'expires_at', backup.expires_at, 'error', backup.error,
        'store', backup.store, 'artefact_sha256', backup.artefact_sha256, 'manifest_sha256', backup.manifest_sha256,
        'verification', backup.verification, 'verified_at', backup.verified_at, 'verified_how', backup.verified_how,
        'verified_by', backup.verified_by, 'unproved', backup.unproved, 'kept_by_store', backup.kept_by_store,
        'object', CASE WHEN backup.object_uid IS NOT NULL THEN pg_catalog.jsonb_build_object(
            'cluster', backup.object_cluster, 'namespace', backup.object_namespace, 'name', backup.object_name,
            'uid', backup.object_uid) END)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._backup_row(edu_matrix_hub_schema.schema_backups) FROM PUBLIC;

-- What a requested job waits for: {own, since}; `own` is the kind of the tenant's own job that is running. A job of the
-- class short (see _job_kinds) waits for none. Null when no job is in the way, or when it waits for another reason.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._job_waits(job edu_matrix_hub_schema.schema_jobs) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT jsonb_build_object('own', o.kind, 'since', o.started_at)
    FROM (SELECT CASE WHEN j.schema_id = job.schema_id THEN j.kind END AS kind, j.started_at
          FROM edu_matrix_hub_schema.schema_jobs AS j, edu_matrix_hub_schema._job_kinds() AS class
          WHERE class ->> job.kind <> 'short' AND job.state = 'requested' AND j.state = 'running'
            AND (class ->> j.kind = class ->> job.kind OR j.schema_id = job.schema_id)) AS o
    ORDER BY o.kind IS NULL, o.started_at
    LIMIT 1
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._job_waits(edu_matrix_hub_schema.schema_jobs) FROM PUBLIC;

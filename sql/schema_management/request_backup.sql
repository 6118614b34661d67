-- Asks for a snapshot or an archive of a tenant: a catalogue row and a job that the operator claims. Asked again for
-- the same object, it answers `unchanged` with the same backup.
--
-- options: {schema_id, object: {cluster, namespace, name, uid, namespace_uid?}, object_kind?, method: "Snapshot" or
-- "Archive", verification?: "None", "Checksum" or "Restore", expire_after_days?, schedule?, retention?,
-- requested_by?}. An archive is read again from its store and compared unless `verification` is None, and for Restore
-- also restored. With `schedule` it counts among those of which `retention` says which stay (_kept_by_retention). The
-- object, a SchemaBackup unless `object_kind` says another, is woken when the job ends. The catalogue itself knows
-- objects by their names alone, as SchemaBackups: it is one that adopts a backup and hears of its end. The object may
-- be absent: such a request is a new one every time. A tenant has ten open requests at most; the next is refused as
-- `busy` until one of them is done.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.request_backup(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    requester     CONSTANT text := coalesce(options ->> 'requested_by', session_user::text);
    method        CONSTANT text := options ->> 'method';
    verification  CONSTANT text := CASE WHEN options ->> 'method' = 'Archive'
                                        THEN coalesce(options ->> 'verification', 'Checksum') END;
    attempt       text := format('request a backup of tenant %s', coalesce(options ->> 'schema_id', '(none)'));
    tenant        edu_matrix_hub_schema.tenant_schemas;
    backup        uuid;
    error_message text;
    error_detail  text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        IF (method IN ('Snapshot', 'Archive')) IS NOT TRUE THEN
            PERFORM edu_matrix_hub_schema._refuse('internal',
                format('method "%s" is not known here; use Snapshot or Archive', method));
        ELSIF verification NOT IN ('None', 'Checksum', 'Restore') THEN
            PERFORM edu_matrix_hub_schema._refuse('internal',
                format('verification "%s" is not known here; use None, Checksum or Restore', verification));
        END IF;
        SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.id = (options ->> 'schema_id')::uuid;
        IF tenant.id IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', 'there is no such tenant');
        END IF;
        attempt := format('request a backup of schema "%s"', tenant.schema_name);
        INSERT INTO edu_matrix_hub_schema.schema_backups
            (schema_id, institution_id, schema_name, method, object_cluster, object_namespace, object_name, object_uid,
             object_namespace_uid, expire_after_days, schedule, retention, verification, requested_by)
        VALUES (tenant.id, tenant.institution_id, tenant.schema_name, method, options #>> '{object,cluster}',
                options #>> '{object,namespace}', options #>> '{object,name}', options #>> '{object,uid}',
                options #>> '{object,namespace_uid}',
                (options ->> 'expire_after_days')::integer, options ->> 'schedule',
                edu_matrix_hub_schema._sound_retention(nullif(options -> 'retention', 'null')), verification,
                requester)
        ON CONFLICT (object_uid) DO NOTHING
        RETURNING id INTO backup;
        IF backup IS NULL THEN
            SELECT b.id INTO backup FROM edu_matrix_hub_schema.schema_backups AS b
            WHERE b.object_uid = options #>> '{object,uid}';
            RETURN edu_matrix_hub_schema._result('unchanged', 'the backup was requested before', tenant.id,
                                                 jsonb_build_object('backup_id', backup));
        END IF;
        IF tenant.status IN ('dropping', 'dropped') THEN
            PERFORM edu_matrix_hub_schema._refuse('schema_missing', format('the tenant is %s', tenant.status));
        END IF;
        IF (SELECT count(*) FROM edu_matrix_hub_schema.schema_jobs AS j
            WHERE j.schema_id = tenant.id AND j.kind IN ('snapshot', 'archive')
              AND j.state IN ('requested', 'running')) >= 10 THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', 'ten backups of it are requested and not done yet');
        END IF;
        INSERT INTO edu_matrix_hub_schema.schema_jobs
            (kind, backup_id, schema_id, object_kind, object_namespace, object_name, object_uid, requested_by)
        VALUES (CASE method WHEN 'Archive' THEN 'archive' ELSE 'snapshot' END, backup, tenant.id,
                CASE WHEN options #>> '{object,uid}' IS NOT NULL
                     THEN coalesce(options ->> 'object_kind', 'SchemaBackup') END,
                options #>> '{object,namespace}', options #>> '{object,name}', options #>> '{object,uid}', requester);
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('request_backup', tenant.id, requester, started, attempt, SQLSTATE,
                                                  error_message, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'request_backup', 'success', requester, started, attempt,
                                       jsonb_build_object('backup_id', backup));
    RETURN edu_matrix_hub_schema._result('success',
        format('backup %s of schema "%s" requested', backup, tenant.schema_name), tenant.id,
        jsonb_build_object('backup_id', backup));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.request_backup(jsonb) FROM PUBLIC;

-- Notes the UIDs of the namespaces that TenantSchemas are in, for rows from before these were kept. options:
-- {namespaces: {owner uid: namespace uid, ...}, requested_by?}: the UID of an object proves that its namespace is
-- the right one. The backups that the tenant's objects asked for take it too. What is known is `unchanged`, and
-- nothing of it is logged.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.remember_namespaces(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    remembered   bigint;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        WITH told AS (
            SELECT w.key AS owner_uid, w.value AS namespace_uid FROM jsonb_each_text(options -> 'namespaces') AS w
        ), tenants AS (
            UPDATE edu_matrix_hub_schema.tenant_schemas AS t
            SET owner_namespace_uid = w.namespace_uid, reported = NULL
            FROM told AS w
            WHERE t.owner_uid = w.owner_uid AND t.status <> 'dropped'
              AND t.owner_namespace_uid IS DISTINCT FROM w.namespace_uid
            RETURNING t.id, t.owner_cluster, t.owner_namespace, t.owner_namespace_uid
        ), backups AS (
            UPDATE edu_matrix_hub_schema.schema_backups AS b
            SET object_namespace_uid = t.owner_namespace_uid
            FROM tenants AS t
            WHERE b.schema_id = t.id AND b.object_cluster = t.owner_cluster AND b.object_namespace = t.owner_namespace
              AND b.object_namespace_uid IS NULL
        )
        SELECT count(*) INTO remembered FROM tenants;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('remember_namespaces', NULL, options ->> 'requested_by', started,
                                                  'remember namespaces', SQLSTATE, SQLERRM, error_detail);
    END;
    RETURN edu_matrix_hub_schema._result(CASE WHEN remembered > 0 THEN 'success' ELSE 'unchanged' END,
                                         format('the namespaces of %s tenants are known now', remembered));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.remember_namespaces(jsonb) FROM PUBLIC;

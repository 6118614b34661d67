-- What keeps a schema's name or an institution from a new tenant although no tenant has them: the newest schema that
-- was set aside of that name or of that institution and is still there, of any owner; null when there is none. An empty
-- schema under a name whose data lies beside it would hide a loss. `beside` is a backup that the caller knows of and
-- leaves where it is. A name is free again when what was set aside is purged.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._reserved(schema_name text, institution_id uuid, beside uuid)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    -- Almost no new tenant finds anything, and the look at one table is planned many times faster than the one at four.
    IF NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS d
                   WHERE d.status = 'dropped' AND d.schema_name = _reserved.schema_name)
       AND (_reserved.institution_id IS NULL
            OR NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS d
                           WHERE d.status = 'dropped' AND d.institution_id = _reserved.institution_id)) THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT jsonb_build_object(
        'backup_id', b.id, 'schema_id', t.id, 'location', b.location, 'state', b.state, 'size_bytes', b.size_bytes,
        'table_count', b.table_count, 'dropped_at', t.dropped_at, 'holder', edu_matrix_hub_schema._claim(t))
    FROM (
        (SELECT d.id AS schema_id, s.id AS backup_id, 1 AS rank
         FROM edu_matrix_hub_schema.tenant_schemas AS d
         JOIN edu_matrix_hub_schema.schema_backups AS s ON s.schema_id = d.id AND s.method = 'SetAside'
          AND s.state IN ('complete', 'purging')
         WHERE EXISTS (SELECT FROM pg_namespace AS n WHERE n.oid = s.location_oid OR n.nspname = s.location)
           AND d.status = 'dropped' AND d.schema_name = _reserved.schema_name
         ORDER BY d.dropped_at DESC LIMIT 1)
        UNION ALL
        (SELECT d.id, s.id, 2
         FROM edu_matrix_hub_schema.tenant_schemas AS d
         JOIN edu_matrix_hub_schema.schema_backups AS s ON s.schema_id = d.id AND s.method = 'SetAside'
          AND s.state IN ('complete', 'purging')
         WHERE EXISTS (SELECT FROM pg_namespace AS n WHERE n.oid = s.location_oid OR n.nspname = s.location)
           AND d.status = 'dropped' AND d.institution_id = _reserved.institution_id
         ORDER BY d.dropped_at DESC LIMIT 1)
    ) AS newest
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = newest.schema_id
    JOIN edu_matrix_hub_schema.schema_backups AS b ON b.id = newest.backup_id
    WHERE b.id IS DISTINCT FROM _reserved.beside
    ORDER BY newest.rank
    LIMIT 1);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._reserved(text, uuid, uuid) FROM PUBLIC;

-- The files of some tables, and how large each is: that of a table with its indexes, and that of its TOAST. A table
-- that a session has locked against readers has none. The caller has set a short lock_timeout.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._files_of(table_oids oid[])
RETURNS TABLE (table_oid oid, relation_oid oid, file oid, bytes bigint, rows real)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    single oid;
BEGIN
    FOREACH single IN ARRAY table_oids LOOP
        BEGIN
            RETURN QUERY
            SELECT single, f.oid, f.relfilenode,
                   pg_total_relation_size(f.oid)
                   - CASE WHEN f.oid = single AND c.reltoastrelid <> 0 THEN pg_total_relation_size(c.reltoastrelid)
                          ELSE 0 END, f.reltuples
            FROM pg_class AS c
            JOIN pg_class AS f ON f.oid IN (c.oid, c.reltoastrelid)
            WHERE c.oid = single AND c.relkind = 'r' AND pg_total_relation_size(f.oid) IS NOT NULL;
        EXCEPTION WHEN lock_not_available OR internal_error OR undefined_file THEN
            NULL;
        END;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._files_of(oid[]) FROM PUBLIC;

-- Notes how large the larger tables of a tenant are that was just blocked for its quota: the fifty that have most, of
-- those that have a hundredth of it at least. All others count with what their files have. A file in which something
-- is free since an earlier block keeps its row, or what is free there would count again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._note_blocked_files(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '20ms'
AS $function$
BEGIN
    INSERT INTO edu_matrix_hub_schema.quota_files AS q
        (schema_id, relation_oid, table_oid, file, bytes, live, deleted)
    SELECT tenant.id, f.relation_oid, f.table_oid, f.file, f.bytes, pg_stat_get_live_tuples(f.relation_oid),
           pg_stat_get_tuples_deleted(f.relation_oid)
    FROM edu_matrix_hub_schema._files_of(ARRAY(
        SELECT c.oid
        FROM pg_depend AS d
        JOIN pg_class AS c ON c.oid = d.objid
        LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = tenant.schema_oid
          AND d.classid = 'pg_class'::regclass AND c.relkind = 'r' AND c.relowner = tenant.owner_role_oid
        -- Pages are known since the latest VACUUM, and rows at once. Of TOAST four go into a page.
        ORDER BY greatest(c.relpages + coalesce(t.relpages, 0), pg_stat_get_live_tuples(c.oid) / 50
                          + coalesce(pg_stat_get_live_tuples(t.oid), 0) / 4) DESC
        LIMIT 50)) AS f
    WHERE f.bytes >= tenant.storage_used / 100
    ON CONFLICT (schema_id, relation_oid) DO UPDATE
    SET table_oid = excluded.table_oid, file = excluded.file, bytes = excluded.bytes, live = excluded.live,
        deleted = excluded.deleted, rows = NULL, live_after = NULL, deleted_after = NULL, freed = 0, tries = 0,
        tried_at = NULL
    WHERE q.freed = 0 OR q.file <> excluded.file;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._note_blocked_files(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- What is free at this moment, for each tenant of which anything is noted. Rows that came back since the latest VACUUM
-- take their share of it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._freed_bytes()
RETURNS TABLE (schema_id uuid, bytes bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT q.schema_id,
           sum(greatest(q.freed - q.bytes / greatest(q.rows, 1)
                                  * greatest(pg_stat_get_live_tuples(q.relation_oid) - q.live_after, 0), 0))::bigint
    FROM edu_matrix_hub_schema.quota_files AS q
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = q.schema_id
    JOIN pg_class AS c ON c.oid = q.relation_oid AND c.relfilenode = q.file
    -- A table that went elsewhere frees nothing here.
    JOIN pg_class AS b ON b.oid = q.table_oid AND b.relnamespace = t.schema_oid AND b.relowner = t.owner_role_oid
    WHERE q.freed > 0 AND q.rows < 'Infinity'
    GROUP BY q.schema_id
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._freed_bytes() FROM PUBLIC;

-- The next tables that are to be vacuumed so that it is known what is free in them, of tenants that are blocked for
-- their quota: those of which nothing is known so far, and those from which a fiftieth of the rows was deleted since.
-- Five tenants, those that delete first, and eight tables of each, the largest first: [{schema_id, owner, seconds,
-- tables: [{oid, statement}...]}...]. `seconds` is the time that they may take, by their size; what fails is tried
-- again after a longer and longer time, an hour at most, and counts as the server's own VACUUM leaves it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._live_parts_due() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    found jsonb;
BEGIN
    -- Another operator that waits for the lane is not to wait for this.
    IF NOT EXISTS (SELECT FROM edu_matrix_hub_schema.quota_files)
       OR edu_matrix_hub_schema._contest() IS NOT NULL THEN
        RETURN '[]'::jsonb;
    END IF;
    DELETE FROM edu_matrix_hub_schema.quota_files AS q USING edu_matrix_hub_schema.tenant_schemas AS t
    WHERE t.id = q.schema_id AND t.access = 'ReadWrite' AND t.freed_bytes = 0;
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'schema_id', d.id,
               'owner', jsonb_build_object('cluster', d.owner_cluster, 'namespace', d.owner_namespace,
                                           'name', d.owner_name, 'uid', d.owner_uid),
               'seconds', 60 + d.bytes / (20 * 1024 * 1024), 'tables', d.tables)), '[]')
    INTO found
    FROM (
        SELECT t.id, t.owner_cluster, t.owner_namespace, t.owner_name, t.owner_uid, sum(n.bytes)::bigint AS bytes,
               jsonb_agg(jsonb_build_object('oid', n.table_oid::bigint, 'statement',
                   format('VACUUM (DISABLE_PAGE_SKIPPING, INDEX_CLEANUP ON, SKIP_LOCKED) %I.%I', t.schema_name,
                          n.relname)) ORDER BY n.bytes DESC) AS tables
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        CROSS JOIN LATERAL (
            SELECT q.table_oid, c.relname, sum(q.bytes) AS bytes,
                   bool_or(pg_stat_get_tuples_deleted(q.relation_oid) > coalesce(q.deleted_after, q.deleted))
                       AS has_deletes
            FROM edu_matrix_hub_schema.quota_files AS q
            JOIN pg_class AS c ON c.oid = q.table_oid AND c.relnamespace = t.schema_oid
                              AND c.relowner = t.owner_role_oid
            WHERE q.schema_id = t.id
              AND (q.tried_at IS NULL
                   OR q.tried_at < clock_timestamp() - least(interval '10 seconds' * power(2, q.tries),
                                                             interval '1 hour'))
            GROUP BY q.table_oid, c.relname
            HAVING bool_or(q.rows IS NULL
                           OR pg_stat_get_tuples_deleted(q.relation_oid) - q.deleted_after >= greatest(q.rows / 50, 1))
            ORDER BY sum(q.bytes) DESC LIMIT 8) AS n
        WHERE t.access = 'WriteBlocked' AND t.access_cause = 'Quota' AND t.status = 'active'
          AND t.owner_uid IS NOT NULL AND t.shared_with = '{}'
          AND t.id IN (SELECT q.schema_id FROM edu_matrix_hub_schema.quota_files AS q)
        GROUP BY t.id, t.owner_cluster, t.owner_namespace, t.owner_name, t.owner_uid
        ORDER BY bool_or(n.has_deletes) DESC, random() LIMIT 5) AS d;
    UPDATE edu_matrix_hub_schema.quota_files AS q
    SET tried_at = clock_timestamp(), tries = least(q.tries + 1, 20), dead = pg_stat_get_dead_tuples(q.relation_oid)
    FROM jsonb_array_elements(found) AS f (value)
    WHERE q.schema_id = (f.value ->> 'schema_id')::uuid
      AND q.table_oid IN (SELECT (x.value ->> 'oid')::oid FROM jsonb_array_elements(f.value -> 'tables') AS x (value));
    RETURN found;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._live_parts_due() FROM PUBLIC;

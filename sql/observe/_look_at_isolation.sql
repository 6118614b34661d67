-- Looks at whether some tenants are isolated (see _isolation_holes), at most ten a survey: those that were never looked
-- at first, then up to five of those that were found open, so that a hole that is closed is soon told as closed, then
-- those whose turn is longest ago. The order is by time, which is kept in the row, so that it outlives an operator, and
-- no tenant comes early or never by its name.
--
-- What a tenant that is made now may do is looked at too, and kept in `installation`: a new tenant begins with that, so
-- that its first status tells it, and has its own turn next.
--
-- `isolation` is what was found, [{kind, what, repairable, statement}...], or null while nobody looked: as of a tenant
-- that is closed, which nobody can try. It changes only with what is found.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._look_at_isolation(started timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    most CONSTANT integer := 10;
    due  uuid[];
BEGIN
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET isolation = NULL, isolation_at = NULL
    WHERE t.id IN (SELECT s.id FROM edu_matrix_hub_schema.tenant_schemas AS s
                   WHERE s.access = 'Suspended' AND s.status <> 'dropped' AND s.isolation IS NOT NULL
                   LIMIT 1000 FOR UPDATE SKIP LOCKED);
    due := ARRAY(
        SELECT d.id
        FROM (
            (SELECT 1 AS class, t.id, t.isolation_at FROM edu_matrix_hub_schema.tenant_schemas AS t
             WHERE t.status = 'active' AND t.access <> 'Suspended' AND t.isolation <> '[]'
             ORDER BY t.isolation_at NULLS FIRST LIMIT most / 2)
            UNION ALL
            (SELECT CASE WHEN t.isolation_at IS NULL THEN 0 ELSE 2 END, t.id, t.isolation_at
             FROM edu_matrix_hub_schema.tenant_schemas AS t
             WHERE t.status = 'active' AND t.access <> 'Suspended'
             ORDER BY t.isolation_at NULLS FIRST LIMIT most)) AS d
        GROUP BY d.id, d.isolation_at
        ORDER BY min(d.class), d.isolation_at LIMIT most);
    -- A row that another call is just changing has its turn with the next survey.
    due := ARRAY(SELECT t.id FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = ANY (due)
                 FOR UPDATE SKIP LOCKED);
    PERFORM edu_matrix_hub_schema._store_isolation(due || edu_matrix_hub_schema._new_tenant(), started);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._look_at_isolation(timestamptz) FROM PUBLIC;

-- The same of these tenants. Of one whose schema is missing nothing is known; it has its turn all the same.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._store_isolation(schema_ids uuid[], at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    WITH found AS MATERIALIZED (
        SELECT h.schema_id, h.kind, h.what, h.repairable, h.statement,
               row_number() OVER (PARTITION BY h.schema_id ORDER BY h.ordinality) AS n
        FROM edu_matrix_hub_schema._isolation_holes($1) WITH ORDINALITY AS h
    ), shown AS (
        SELECT f.schema_id, f.n, jsonb_build_object('kind', f.kind, 'what', edu_matrix_hub_schema._cut(f.what),
                                                    'repairable', f.repairable,
                                                    'statement', edu_matrix_hub_schema._cut(f.statement)) AS hole
        FROM found AS f WHERE f.n <= 10
        UNION ALL
        SELECT f.schema_id, 11, jsonb_build_object('kind', min(f.kind), 'what', format('and %s more', count(*)),
                                                   'repairable', bool_or(f.repairable), 'statement', NULL)
        FROM found AS f WHERE f.n > 10 GROUP BY f.schema_id
    ), told AS (
        SELECT i.id, coalesce((SELECT jsonb_agg(s.hole ORDER BY s.n) FROM shown AS s WHERE s.schema_id = i.id),
                              '[]') AS isolation
        FROM unnest($1) AS i (id)
    ), new_tenants AS (
        UPDATE edu_matrix_hub_schema.installation AS i SET isolation = t.isolation
        FROM told AS t
        WHERE t.id = edu_matrix_hub_schema._new_tenant() AND i.isolation IS DISTINCT FROM t.isolation
    )
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET isolation_at = $2, isolation = CASE WHEN n.oid IS NOT NULL THEN f.isolation END
    FROM told AS f
    JOIN edu_matrix_hub_schema.tenant_schemas AS w ON w.id = f.id
    LEFT JOIN pg_namespace AS n ON n.oid = w.schema_oid AND n.nspname = w.schema_name
    WHERE t.id = w.id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._store_isolation(uuid[], timestamptz) FROM PUBLIC;

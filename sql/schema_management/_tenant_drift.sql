-- Drift as people and the operator see it, [{what, repairable, statement}...], of those of some tenants that have any.
-- It travels with every survey and observation and ends in statuses and Events, and a tenant can make any amount of it:
-- so texts are cut, and the twentieth finding is followed by how many there are besides, apart what can be repaired and
-- what cannot. All of it, whole, is what _drift returns. What is not to be told (see _credential_drift) leaves a tenant
-- with an empty list.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._tenant_drifts(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, drift jsonb)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH found AS (
        SELECT d.schema_id, d.what, d.repairable, d.statement,
               row_number() OVER (PARTITION BY d.schema_id ORDER BY d.ordinality) AS n
        FROM edu_matrix_hub_schema._drift($1) WITH ORDINALITY AS d
    ), shown AS (
        SELECT f.schema_id, edu_matrix_hub_schema._cut(f.what) AS what, f.repairable,
               edu_matrix_hub_schema._cut(f.statement) AS statement, f.n
        FROM found AS f WHERE f.n <= 20
        UNION ALL
        SELECT f.schema_id, format('and %s more', count(*)), f.repairable, NULL, min(f.n)
        FROM found AS f WHERE f.n > 20 AND f.what IS NOT NULL GROUP BY f.schema_id, f.repairable
    )
    SELECT s.schema_id, coalesce(jsonb_agg(jsonb_build_object('what', s.what, 'repairable', s.repairable,
                                                              'statement', s.statement) ORDER BY s.n)
                                 FILTER (WHERE s.what IS NOT NULL), '[]')
    FROM shown AS s
    GROUP BY s.schema_id
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._tenant_drifts(uuid[]) FROM PUBLIC;

-- The same of one tenant.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._tenant_drift(schema_id uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce((SELECT d.drift FROM edu_matrix_hub_schema._tenant_drifts(ARRAY[$1]) AS d), '[]')
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._tenant_drift(uuid) FROM PUBLIC;

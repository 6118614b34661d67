-- One tenant's drift as people and the operator see it: [{what, repairable, statement}...].
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._tenant_drift(schema_id uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(jsonb_agg(jsonb_build_object('what', d.what, 'repairable', d.repairable, 'statement', d.statement)), '[]')
    FROM edu_matrix_hub_schema._drift(ARRAY[$1]) AS d
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._tenant_drift(uuid) FROM PUBLIC;

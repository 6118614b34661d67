-- Declares a tenant's present owner, grants, default privileges and roles to be right, after they were made so or
-- looked at. Called when our own memberships have been given back; a fingerprint that is not stored only costs
-- the survey a close look.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._store_fingerprint(schema_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET fingerprint = (SELECT f.fingerprint FROM edu_matrix_hub_schema.tenant_fingerprints AS f
                       WHERE f.schema_id = _store_fingerprint.schema_id),
        drift = '[]'
    WHERE t.id = _store_fingerprint.schema_id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._store_fingerprint(uuid) FROM PUBLIC;

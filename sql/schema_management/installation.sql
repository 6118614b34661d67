-- What is installed, and who manages it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.installation() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT jsonb_build_object(
        'installation_id', i.installation_id,
        'functions_version', i.functions_version,
        'contract', i.contract,
        'checksum', i.functions_checksum,
        'fingerprint_matches', i.functions_fingerprint IS NOT DISTINCT FROM edu_matrix_hub_schema._functions_fingerprint(),
        'owner_role', i.owner_role,
        'admin_role', i.admin_role,
        'epoch', i.epoch,
        'cluster', i.cluster,
        'tenant_database', i.tenant_database)
    FROM edu_matrix_hub_schema.installation AS i
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.installation() FROM PUBLIC;

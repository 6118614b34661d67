-- What is installed, which TenantDatabase manages it, and for how many seconds no operator was heard of (`silent_for`):
-- none sent a heartbeat, surveyed or claimed the lane.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.installation() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    PERFORM edu_matrix_hub_schema._need_all_rows();
    RETURN (
        SELECT jsonb_build_object(
            'installation_id', i.installation_id,
            'functions_version', i.functions_version,
            'contract', i.contract,
            'checksum', i.functions_checksum,
            'fingerprint_matches',
            i.functions_fingerprint IS NOT DISTINCT FROM edu_matrix_hub_schema._functions_fingerprint(),
            'owner_role', i.owner_role,
            'admin_role', i.admin_role,
            'operator_role', i.operator_role,
            'epoch', i.epoch,
            'cluster', i.cluster,
            'tenant_database', i.tenant_database,
            'holder', i.holder,
            -- Null when the holder left in order, or is of a release that has no heartbeat.
            'heartbeat_at', i.heartbeat_at,
            'silent_for', extract(epoch FROM clock_timestamp() - greatest(i.heartbeat_at, i.surveyed_at, i.claimed_at)))
        FROM edu_matrix_hub_schema.installation AS i);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.installation() FROM PUBLIC;

-- Gives a database back that no TenantDatabase manages any more: cluster and name are forgotten, so that another one
-- may claim it. Tenants stay as they are. Only the present holder may do it, by its epoch; a late one is refused.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.release_lane(epoch bigint, installation_id uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started CONSTANT timestamptz := clock_timestamp();
    refusal jsonb;
BEGIN
    refusal := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
    IF refusal IS NOT NULL THEN
        RETURN refusal;
    END IF;
    UPDATE edu_matrix_hub_schema.installation AS i
    SET cluster = NULL, tenant_database = NULL, holder = NULL, claim_id = NULL, lease = NULL,
        heartbeat_at = NULL, updated_at = now()
    WHERE i.cluster IS NOT NULL;
    IF NOT FOUND THEN
        RETURN edu_matrix_hub_schema._result('unchanged', 'no TenantDatabase manages this database', NULL, '{}');
    END IF;
    PERFORM edu_matrix_hub_schema._log(NULL, 'release_lane', 'success', session_user::text, started,
                                       'release database "' || current_database() || '"', '{}');
    RETURN edu_matrix_hub_schema._result('success', 'no TenantDatabase manages this database any more', NULL, '{}');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.release_lane(bigint, uuid) FROM PUBLIC;

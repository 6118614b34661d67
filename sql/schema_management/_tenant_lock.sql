-- Tries to lock one aspect of a tenant until the transaction ends, and says whether it was to be had; it never waits.
--
--   * `structure`: jobs (snapshot, VACUUM) share it; what creates, renames or removes the schema takes it alone.
--   * `access`: grants, suspension, quota, repair. Long work never holds it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._tenant_lock(schema_id uuid, kind text, exclusive boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    key CONSTANT bigint := hashtextextended('edu_matrix_hub_schema/' || kind || '/' || schema_id, 0);
BEGIN
    IF kind NOT IN ('structure', 'access') THEN
        RAISE EXCEPTION 'there is no tenant lock of kind "%"', kind;
    END IF;
    RETURN CASE WHEN exclusive THEN pg_try_advisory_xact_lock(key) ELSE pg_try_advisory_xact_lock_shared(key) END;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._tenant_lock(uuid, text, boolean) FROM PUBLIC;

-- Lets go of tenants whose TenantSchemas are gone: they become `released` and stay as they are, open, measured, but
-- no longer protected from being dropped by hand, until a TenantSchema of the same namespace and name reclaims
-- them. Those of other clusters than the one that manages this database stay, and so do those that were taken over
-- and wait for their TenantSchema. A tenant whose TenantSchema was there and was deleted waits for none: `deleted_uids`
-- names it among the others.
--
-- options: {owner_uids: [text...], deleted_uids?: [text...], requested_by?}. While another operator asks for the lane
-- it is refused (`lane_contested`). detail: {released: [schema name...]}; `unchanged` when there are none.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.release_tenants(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    released     text[] := '{}'::text[];
    tenant       edu_matrix_hub_schema.tenant_schemas;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        PERFORM edu_matrix_hub_schema._be_alone();
        FOR tenant IN
            UPDATE edu_matrix_hub_schema.tenant_schemas AS t
            SET status = 'released', taken_over = false, reported = NULL, updated_at = now()
            FROM edu_matrix_hub_schema.installation AS i
            WHERE t.owner_uid IN (SELECT jsonb_array_elements_text(options -> 'owner_uids'))
              AND t.owner_cluster = i.cluster
              AND t.status IN ('active', 'suspended')
              AND (NOT t.taken_over OR coalesce(options -> 'deleted_uids', '[]') ? t.owner_uid)
            RETURNING t.*
        LOOP
            released := released || tenant.schema_name;
            PERFORM edu_matrix_hub_schema._log(tenant.id, 'release_tenants', 'success',
                                               options ->> 'requested_by', started,
                                               format('release schema "%s"', tenant.schema_name));
        END LOOP;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('release_tenants', NULL, options ->> 'requested_by', started,
                                                  'release tenants', SQLSTATE, SQLERRM, error_detail);
    END;
    IF released = '{}' THEN
        RETURN edu_matrix_hub_schema._result('unchanged', 'no tenant is to be released', NULL, '{"released": []}');
    END IF;
    RETURN edu_matrix_hub_schema._result('success', format('%s tenants released', cardinality(released)), NULL,
                                         jsonb_build_object('released', to_jsonb(released)));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.release_tenants(jsonb) FROM PUBLIC;

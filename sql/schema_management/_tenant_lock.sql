-- Tries to lock one aspect of a tenant until the transaction ends, and says whether it has it; it never waits.
-- The lock is on a row of tenant_locks, which only the registry's owner can lock.
--
--   * `structure`: jobs (snapshot, VACUUM) share it; what creates, renames or removes the schema takes it alone.
--   * `access`: grants, suspension, quota, repair. Long work never holds it.
--
-- There is nothing to lock of a tenant that is not there: the answer is true, and the caller finds no row of it. A
-- tenant that stands without its rows cannot be locked; installing the functions again makes them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._tenant_lock(schema_id uuid, kind text, exclusive boolean)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    IF kind NOT IN ('structure', 'access') THEN
        RAISE EXCEPTION 'there is no tenant lock of kind "%"', kind;
    END IF;
    IF exclusive THEN
        PERFORM FROM edu_matrix_hub_schema.tenant_locks AS l
        WHERE l.schema_id = _tenant_lock.schema_id AND l.kind = _tenant_lock.kind FOR UPDATE SKIP LOCKED;
    ELSE
        PERFORM FROM edu_matrix_hub_schema.tenant_locks AS l
        WHERE l.schema_id = _tenant_lock.schema_id AND l.kind = _tenant_lock.kind FOR SHARE SKIP LOCKED;
    END IF;
    RETURN FOUND OR NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                                WHERE t.id = _tenant_lock.schema_id);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._tenant_lock(uuid, text, boolean) FROM PUBLIC;

-- The role keeper for a new tenant: null on PostgreSQL 15, else an open one with room. When it is full, one transaction at a
-- time makes the next; others meanwhile go on with the full one, since waiting would cost more than a few roles too many.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._choose_role_keeper() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    room   CONSTANT integer := 64;
    chosen integer;
BEGIN
    IF current_setting('server_version_num')::integer < 160000 THEN
        RETURN NULL;
    END IF;
    SELECT k.n INTO chosen FROM edu_matrix_hub_schema.role_keepers AS k WHERE k.is_open ORDER BY k.n LIMIT 1;
    IF chosen IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('edu_matrix_hub_schema/role_keepers', 0));
        SELECT k.n INTO chosen FROM edu_matrix_hub_schema.role_keepers AS k WHERE k.is_open ORDER BY k.n LIMIT 1;
        IF chosen IS NULL THEN
            RETURN edu_matrix_hub_schema._new_role_keeper();
        END IF;
    END IF;
    IF (SELECT count(*) FROM (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.keeper = chosen LIMIT room) AS kept) >= room
       AND pg_try_advisory_xact_lock(hashtextextended('edu_matrix_hub_schema/role_keepers', 0)) THEN
        UPDATE edu_matrix_hub_schema.role_keepers AS k SET is_open = false WHERE k.n = chosen AND k.is_open;
        SELECT k.n INTO chosen FROM edu_matrix_hub_schema.role_keepers AS k WHERE k.is_open ORDER BY k.n LIMIT 1;
        IF chosen IS NULL THEN
            chosen := edu_matrix_hub_schema._new_role_keeper();
        END IF;
    END IF;
    RETURN chosen;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._choose_role_keeper() FROM PUBLIC;

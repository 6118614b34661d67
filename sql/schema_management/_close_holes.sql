-- Takes back what the roles of a tenant may do beyond its schema where that is ours to take: what belongs to the owner
-- role and was given by it (see _isolation_holes). Returns what was taken back. What fails is left as it was, and is
-- told by the look that follows.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._close_holes(schema_id uuid) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    hole   record;
    closed text[] := '{}'::text[];
BEGIN
    FOR hole IN SELECT h.what, h.statement FROM edu_matrix_hub_schema._isolation_holes(ARRAY[$1]) AS h
                WHERE h.repairable LIMIT 200 LOOP
        BEGIN
            PERFORM edu_matrix_hub_schema._persist(hole.statement);
            closed := closed || hole.what;
        EXCEPTION
            WHEN insufficient_privilege OR undefined_object OR undefined_table OR undefined_function
                 OR invalid_schema_name OR invalid_grant_operation OR lock_not_available OR internal_error THEN
                RAISE LOG 'cannot close a hole of tenant % by %: % (%)', $1, hole.statement, SQLERRM, SQLSTATE;
        END;
    END LOOP;
    RETURN closed;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_holes(uuid) FROM PUBLIC;

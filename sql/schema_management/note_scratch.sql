-- Notes that the database stands that a job was given a name for by begin_scratch(), and which one it is.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.note_scratch(epoch bigint, installation_id uuid, name text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    refused CONSTANT jsonb := edu_matrix_hub_schema._hold_lane(epoch, installation_id);
BEGIN
    IF refused IS NOT NULL THEN
        RETURN refused;
    END IF;
    UPDATE edu_matrix_hub_schema.scratch_databases AS s SET database_oid = d.oid
    FROM pg_database AS d
    WHERE s.name = note_scratch.name AND d.datname = s.name AND d.datdba = to_regrole(quote_ident(session_user));
    IF NOT FOUND THEN
        RETURN edu_matrix_hub_schema._result('error', format('database "%s" was not made', note_scratch.name), NULL,
                                             '{"reason": "not_found"}');
    END IF;
    RETURN edu_matrix_hub_schema._result('success', format('database "%s" is noted', note_scratch.name), NULL, '{}');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.note_scratch(bigint, uuid, text) FROM PUBLIC;

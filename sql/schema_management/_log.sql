-- Writes one row of the log and returns its id. A call is logged when it ends, whether it succeeded or not; since a failed
-- call undoes its work in a sub-block and logs outside of it, the row stays. `requested_by` null means: by hand.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._log(
    schema_id    uuid,
    type         text,
    status       text,
    requested_by text,
    started_at   timestamptz,
    description  text,
    metadata     jsonb DEFAULT '{}',
    error        text DEFAULT NULL,
    sqlstate     text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    id bigint;
BEGIN
    INSERT INTO edu_matrix_hub_schema.schema_operations AS o
        (schema_id, type, status, description, metadata, error, sqlstate, requested_by, started_at, completed_at, duration_ms)
    VALUES ($1, $2, $3, $6, coalesce($7, '{}'), $8, $9, coalesce($4, session_user::text), $5, clock_timestamp(),
            (1000 * extract(epoch FROM clock_timestamp() - $5))::bigint)
    RETURNING o.id INTO id;
    RETURN id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._log(uuid, text, text, text, timestamptz, text, jsonb, text, text) FROM PUBLIC;

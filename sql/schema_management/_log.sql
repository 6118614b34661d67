-- Writes one row of the log and returns its id. A call is logged when it ends, whether it succeeded or not; since a
-- failed call undoes its work in a sub-block and logs outside of it, the row stays. `requested_by` null means: by hand.
-- What is written has a bound, since a tenant can make any number of things.
--
-- What one caller tries again and again and fails in the same words is one row: it keeps the time of the first attempt,
-- has the end of the latest, and counts in metadata.attempts; so a status that shows the latest operation does not
-- change either. The parts of one work, of which there may be thousands, are one row too. Where many fail without a
-- tenant, only the latest hundred rows are looked at.
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
    id  bigint;
    old edu_matrix_hub_schema.schema_operations;
BEGIN
    $6 := edu_matrix_hub_schema._cut_message($6);
    $7 := coalesce(edu_matrix_hub_schema._cut_document($7), '{}');
    $8 := edu_matrix_hub_schema._cut_message($8);
    IF $3 IN ('busy', 'error', 'partial') THEN
        IF $1 IS NOT NULL THEN
            SELECT o.* INTO old
            FROM (SELECT r.* FROM edu_matrix_hub_schema.schema_operations AS r
                  WHERE r.schema_id = $1 ORDER BY r.id DESC LIMIT 100) AS o
            WHERE o.type = $2 ORDER BY o.id DESC LIMIT 1;
        ELSE
            SELECT o.* INTO old
            FROM (SELECT r.* FROM edu_matrix_hub_schema.schema_operations AS r
                  WHERE r.schema_id IS NULL ORDER BY r.id DESC LIMIT 100) AS o
            WHERE o.type = $2 AND o.description IS NOT DISTINCT FROM $6 ORDER BY o.id DESC LIMIT 1;
        END IF;
        IF (old.status, old.description, old.error, old.sqlstate, old.requested_by)
           IS NOT DISTINCT FROM ($3, $6, $8, $9, coalesce($4, session_user::text)) THEN
            -- The row of a caller whose transaction is still open is not waited for.
            PERFORM FROM edu_matrix_hub_schema.schema_operations AS o WHERE o.id = old.id FOR NO KEY UPDATE SKIP LOCKED;
            IF FOUND THEN
                UPDATE edu_matrix_hub_schema.schema_operations AS o
                SET completed_at = clock_timestamp(),
                    metadata = $7
                        || jsonb_build_object('attempts', coalesce((o.metadata ->> 'attempts')::integer, 1) + 1)
                WHERE o.id = old.id;
                RETURN old.id;
            END IF;
        END IF;
    END IF;
    INSERT INTO edu_matrix_hub_schema.schema_operations AS o
        (schema_id, type, status, description, metadata, error, sqlstate, requested_by, owner_uid, started_at,
         completed_at, duration_ms)
    VALUES ($1, $2, $3, $6, $7, $8, $9, coalesce($4, session_user::text),
            (SELECT t.owner_uid FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = $1), $5, clock_timestamp(),
            (1000 * extract(epoch FROM clock_timestamp() - $5))::bigint)
    RETURNING o.id INTO id;
    RETURN id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._log(uuid, text, text, text, timestamptz, text, jsonb, text, text)
    FROM PUBLIC;

-- Logs that sessions of a tenant were ended, at most once an hour, since a login may come again without end.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._log_ended_sessions(schema_id uuid, started timestamptz,
                                                                     description text, metadata jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_operations AS o
                   WHERE o.schema_id = $1 AND o.type = 'end_sessions' AND o.started_at > started - interval '1 hour')
    THEN
        PERFORM edu_matrix_hub_schema._log($1, 'end_sessions', 'success', NULL, started, description, metadata);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._log_ended_sessions(uuid, timestamptz, text, jsonb) FROM PUBLIC;

-- Makes sure that an institution is known, or refuses with `institution_unknown`. It is known when it stands
-- in our table, or in the application's own one (`source`), from which it is then taken over; `register`
-- inserts an unknown one.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._check_institution(institution_id uuid, register boolean, source jsonb)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    known_status text;
BEGIN
    SELECT i.status INTO known_status FROM edu_matrix_hub_schema.institutions AS i WHERE i.id = institution_id;
    IF known_status = 'closed' THEN
        PERFORM edu_matrix_hub_schema._refuse('institution_unknown',
            format('institution %s is closed; open it in edu_matrix_hub_schema.institutions first', institution_id));
    ELSIF known_status IS NULL THEN
        IF NOT coalesce(register, false)
           AND NOT coalesce(source IS NOT NULL AND jsonb_typeof(source) = 'object'
                            AND edu_matrix_hub_schema._institution_in_source(institution_id, source), false) THEN
            PERFORM edu_matrix_hub_schema._refuse('institution_unknown',
                format('institution %s is unknown; insert it into %s first', institution_id,
                       coalesce(quote_ident(source ->> 'schema') || '.' || quote_ident(source ->> 'table'),
                                'edu_matrix_hub_schema.institutions')));
        END IF;
        INSERT INTO edu_matrix_hub_schema.institutions (id) VALUES (institution_id) ON CONFLICT DO NOTHING;
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._check_institution(uuid, boolean, jsonb) FROM PUBLIC;

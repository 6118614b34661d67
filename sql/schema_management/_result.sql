-- The shape of every answer: status, message, tenant and details. Its size has a bound, since a tenant can make any
-- number of things.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._result(status text, message text, schema_id uuid DEFAULT NULL,
                                                         detail jsonb DEFAULT '{}')
RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT pg_catalog.jsonb_build_object('status', $1, 'message', edu_matrix_hub_schema._cut_message($2),
                                         'schema_id', $3,
                                         'detail', coalesce(edu_matrix_hub_schema._cut_document($4), '{}'))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._result(text, text, uuid, jsonb) FROM PUBLIC;

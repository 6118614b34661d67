-- From now on nothing expires and nothing is purged for four hours: the database, or the operator that manages it, is
-- not what it was, and a user may still want what is past its time.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._keep_quiet(reason text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    UPDATE edu_matrix_hub_schema.installation AS i
    SET quiet_since = clock_timestamp(), quiet_until = clock_timestamp() + interval '4 hours', quiet_reason = $1
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._keep_quiet(text) FROM PUBLIC;

-- What it costs to write the text of a stored query, in bytes that are gone through: for each field that is taken out
-- of a row of a subquery the server goes through the subquery again, so that a view of three megabytes can take it
-- minutes. What is longer than eight megabytes is not counted, and is taken for more than anything.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._definition_work(definition text) RETURNS bigint
LANGUAGE sql IMMUTABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE WHEN octet_length(definition) > 8 * 1024 * 1024 THEN 1::bigint << 40
                ELSE coalesce(octet_length(definition)::bigint
                              * ((octet_length(definition)
                                  - octet_length(replace(definition, '{FIELDSELECT', ''))) / 12), 0) END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._definition_work(text) FROM PUBLIC;

-- A text as it is shown, at most some 512 characters of it; what was cut ends with a mark that says so.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cut(whole text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT CASE WHEN pg_catalog.length($1) > 512 THEN pg_catalog.left($1, 512) || ' ... (cut)' ELSE $1 END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cut(text) FROM PUBLIC;

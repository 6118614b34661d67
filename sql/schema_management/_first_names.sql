-- The first five names of a list, and how many more there are.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._first_names(names jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(string_agg(left(e.value, 160), ', ' ORDER BY e.n) FILTER (WHERE e.n <= 5), '')
           || CASE WHEN count(*) > 5 THEN format(' and %s more', count(*) - 5) ELSE '' END
    FROM jsonb_array_elements_text(names) WITH ORDINALITY AS e (value, n)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._first_names(jsonb) FROM PUBLIC;

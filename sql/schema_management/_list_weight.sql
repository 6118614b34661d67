-- How many bytes the texts of a list are, or more. A long list that is stored compressed is not read for that: it may
-- be 256 times as long.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._list_weight(list text[]) RETURNS bigint
LANGUAGE sql IMMUTABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE WHEN list IS NULL THEN 0
                WHEN pg_column_compression(list) IS NULL THEN pg_column_size(list)
                WHEN pg_column_size(list) <= 65536 THEN octet_length(list::text)
                ELSE 256::bigint * pg_column_size(list) END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._list_weight(text[]) FROM PUBLIC;

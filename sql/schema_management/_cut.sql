-- A text as it is shown, at most some 512 characters of it; what was cut ends with a mark that says so.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cut(whole text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT CASE WHEN pg_catalog.length($1) > 512 THEN pg_catalog.left($1, 512) || ' ... (cut)' ELSE $1 END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cut(text) FROM PUBLIC;

-- A message as it is answered and logged: at most 8 kB, since a tenant can make names, lists and errors as long as it
-- likes.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cut_message(whole text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $function$
    -- A character has four bytes at most.
    SELECT CASE WHEN pg_catalog.octet_length($1) > 8192 THEN pg_catalog.left($1, 2000) || ' ... (cut)' ELSE $1 END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cut_message(text) FROM PUBLIC;

-- A document as it is answered and logged: of one that has more than 64 kB, long texts are cut, and of a list the first
-- twenty stay. What is still too large after that is left out and says so; `reason` and `sqlstate`, by which answers
-- are told apart, stay.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cut_document(whole jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    most CONSTANT integer := 65536;
    part jsonb;
BEGIN
    IF pg_column_size(whole) <= most / 8 OR octet_length(whole::text) <= most THEN
        RETURN whole;
    END IF;
    part := edu_matrix_hub_schema._cut_part(whole, 0);
    IF octet_length(part::text) <= most THEN
        RETURN part;
    END IF;
    RETURN jsonb_strip_nulls(jsonb_build_object('reason', part -> 'reason', 'sqlstate', part -> 'sqlstate',
                                                'backup_id', part -> 'backup_id', 'cut', true));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cut_document(jsonb) FROM PUBLIC;

-- A part of it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cut_part(whole jsonb, depth integer) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    CASE jsonb_typeof(whole)
        WHEN 'string' THEN
            RETURN to_jsonb(edu_matrix_hub_schema._cut(whole #>> '{}'));
        WHEN 'array' THEN
            RETURN (SELECT coalesce(jsonb_agg(edu_matrix_hub_schema._cut_part(e.value, depth + 1) ORDER BY e.n), '[]')
                    FROM jsonb_array_elements(CASE WHEN depth < 4 THEN whole ELSE '[]' END)
                         WITH ORDINALITY AS e (value, n)
                    WHERE e.n <= 20);
        WHEN 'object' THEN
            RETURN (SELECT coalesce(jsonb_object_agg(e.key, edu_matrix_hub_schema._cut_part(e.value, depth + 1)), '{}')
                    FROM (SELECT o.key, o.value FROM jsonb_each(CASE WHEN depth < 4 THEN whole ELSE '{}' END) AS o
                          ORDER BY o.key LIMIT 50) AS e);
        ELSE
            RETURN whole;
    END CASE;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cut_part(jsonb, integer) FROM PUBLIC;

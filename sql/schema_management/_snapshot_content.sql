-- Counts a snapshot's tables and hashes their contents: the number of rows, a hash over whole rows, and one per column
-- that finds the column in which two copies differ. They are sums over the rows, so the order of rows does not matter,
-- and over the text form under fixed settings, so they can be computed again from any copy, on any version. NULLs count
-- for nothing in a column's sum and show in the sum over rows.
--
-- It reads tables of ours only, of built-in types and without expressions, so no tenant's code runs.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._snapshot_content(location text, tables jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
SET bytea_output = 'hex' SET lc_monetary = 'C' SET xmlbinary = 'base64'
AS $function$
DECLARE
    target  record;
    hashes  text;
    rows    bigint;
    hash    text;
    columns text[];
    content jsonb := '[]'::jsonb;
BEGIN
    FOR target IN SELECT e.value ->> 'name' AS name, e.value -> 'columns' AS columns
        FROM jsonb_array_elements(tables) AS e (value) LOOP
        SELECT coalesce(string_agg(format('sum(hashtextextended(copy.%I::text, 0)::numeric)::text', c.value ->> 'name'),
                                   ', ' ORDER BY c.n), '')
        INTO hashes
        FROM jsonb_array_elements(target.columns) WITH ORDINALITY AS c (value, n);
        EXECUTE format('SELECT count(*), coalesce(sum(hashtextextended((copy.*)::text, 0)::numeric), 0)::text, '
                       'ARRAY[%s]::text[] '
                       'FROM ONLY %I.%I AS copy', hashes, location, target.name)
        INTO rows, hash, columns;
        content := content || jsonb_build_object(
            'name', target.name, 'rows', rows, 'hash', hash,
            'columns', (SELECT coalesce(jsonb_agg(c.value || jsonb_build_object('hash', coalesce(columns[c.n], '0'))
                                                  ORDER BY c.n), '[]')
                        FROM jsonb_array_elements(target.columns) WITH ORDINALITY AS c (value, n)));
    END LOOP;
    RETURN content;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._snapshot_content(text, jsonb) FROM PUBLIC;

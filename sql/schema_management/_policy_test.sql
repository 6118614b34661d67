-- What a row must be for a session to have it: the column equals the setting, which is tested by a pattern first and
-- cast then. A setting that is not there, is empty or is no value of the type is null, so no row is equal. The
-- subquery is computed once for a statement, so that an index on the column is used. Null for a type that cannot be
-- compared so.
--
-- Every function, operator and type is named in full, so that nothing that a tenant made is found in their place.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._policy_test(column_name name, type_oid oid, setting text) RETURNS text
LANGUAGE sql IMMUTABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT format('%1$I OPERATOR(pg_catalog.=) (SELECT ' || t.value || ')', $1,
                  format('pg_catalog.current_setting(%L::pg_catalog.text, true)', $3), t.pattern, t.least, t.most,
                  t.name)
    FROM (VALUES
        (2950, 'uuid', '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$', NULL, NULL,
         'CASE WHEN %2$s OPERATOR(pg_catalog.~) %3$L::pg_catalog.text THEN %2$s::pg_catalog.%6$s END'),
        (21, 'int2', '^-?[0-9]{1,5}$', '-32768', '32767', NULL),
        (23, 'int4', '^-?[0-9]{1,10}$', '-2147483648', '2147483647', NULL),
        (20, 'int8', '^-?[0-9]{1,19}$', '-9223372036854775808', '9223372036854775807', NULL),
        (25, 'text', NULL, NULL, NULL,
         'CASE WHEN %2$s OPERATOR(pg_catalog.<>) ''''::pg_catalog.text THEN %2$s END'),
        (1043, 'varchar', NULL, NULL, NULL,
         'CASE WHEN %2$s OPERATOR(pg_catalog.<>) ''''::pg_catalog.text THEN %2$s END')
    ) AS k (oid, name, pattern, least, most, value)
    CROSS JOIN LATERAL (SELECT k.name, k.pattern, k.least, k.most, coalesce(k.value,
        'CASE WHEN %2$s OPERATOR(pg_catalog.~) %3$L::pg_catalog.text THEN '
        'CASE WHEN %2$s::pg_catalog.numeric OPERATOR(pg_catalog.>=) %4$L::pg_catalog.numeric '
        'AND %2$s::pg_catalog.numeric OPERATOR(pg_catalog.<=) %5$L::pg_catalog.numeric '
        'THEN %2$s::pg_catalog.%6$s END END') AS value) AS t
    WHERE k.oid = $2
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._policy_test(name, oid, text) FROM PUBLIC;

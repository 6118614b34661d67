-- A routine as GRANT and DROP ROUTINE take it. Neither the arguments that a definition shows nor regprocedure do for
-- every one: an ordered-set aggregate shows ORDER BY, and without a mode the types alone may also mean a procedure of
-- that name by its OUT arguments.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._routine_name(routine oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT format('%I.%I(%s)', n.nspname, p.proname,
                  (SELECT string_agg('IN ' || format_type(a.type, NULL), ', ' ORDER BY a.n)
                   FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, n)))
    FROM pg_proc AS p
    JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE p.oid = routine
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._routine_name(oid) FROM PUBLIC;

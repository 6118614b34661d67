-- The enabled event triggers that a statement of ours may have run, each with its function, or null when
-- there are none.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._event_triggers() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    RETURN (SELECT string_agg(CASE WHEN e.place <= 10 THEN format('%I (%s)', e.evtname, e.evtfoid::regproc)
                                   ELSE 'and more' END, ', ' ORDER BY e.place)
            FROM (SELECT t.evtname, t.evtfoid, row_number() OVER (ORDER BY t.evtname) AS place
                  FROM pg_event_trigger AS t WHERE t.evtenabled IN ('O', 'A') AND t.evtevent <> 'login') AS e
            WHERE e.place <= 11);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._event_triggers() FROM PUBLIC;

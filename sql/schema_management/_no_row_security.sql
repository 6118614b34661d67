-- Turns row-level security off on the tables of a schema of ours, which a tenant's owner is to read or write for one
-- call. An event trigger of the cluster may turn it on for every new table; then rows would be hidden, and a snapshot
-- refused. An event trigger that turns it on whenever it was turned off is named.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._no_row_security(location text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    secured name[];
    secure  CONSTANT text := 'SELECT array_agg(c.relname) FROM pg_class AS c
                              WHERE c.relnamespace = quote_ident($1)::regnamespace AND c.relkind = ''r''
                                AND (c.relrowsecurity OR c.relforcerowsecurity)';
    made    name;
BEGIN
    EXECUTE secure INTO secured USING location;
    IF secured IS NULL THEN
        RETURN;
    END IF;
    FOREACH made IN ARRAY secured LOOP
        EXECUTE format('ALTER TABLE %I.%I DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', location, made);
    END LOOP;
    EXECUTE secure INTO secured USING location;
    IF secured IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('row-level security comes back on new tables of schema "%s" when it is turned off; '
                             'let the event trigger that may do it leave out what role "%s" makes%s',
                             location, current_user,
                             coalesce(' (there are: ' || edu_matrix_hub_schema._event_triggers() || ')', ''));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._no_row_security(text) FROM PUBLIC;

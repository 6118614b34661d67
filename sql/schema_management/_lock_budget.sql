-- How many locks one call may hold: half of what the server promises to have for all, so that a big tenant's backup
-- never takes the room that the other tenants' queries need.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._lock_budget() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT current_setting('max_locks_per_transaction')::bigint
           * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) / 2
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._lock_budget() FROM PUBLIC;

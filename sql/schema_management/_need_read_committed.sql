-- Refuses a call in a transaction that does not see what others commit meanwhile. Every function that changes
-- something locks first and reads then; with the snapshot of REPEATABLE READ or SERIALIZABLE it would act on what was
-- so before it waited, and a backup would miss a table that was truncated meanwhile. Nor does a call act that does not
-- see every row of the registry.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._need_read_committed() RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    IF edu_matrix_hub_schema._isolation_problem() IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('isolation', edu_matrix_hub_schema._isolation_problem());
    END IF;
    PERFORM edu_matrix_hub_schema._need_all_rows();
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._need_read_committed() FROM PUBLIC;

-- What is wrong with the isolation level of this transaction, or null.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._isolation_problem() RETURNS text
LANGUAGE sql STABLE
AS $function$
    SELECT CASE WHEN pg_catalog.current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
           THEN pg_catalog.format('this transaction is %s and does not see what others commit meanwhile; '
                                  'call it in BEGIN ISOLATION LEVEL READ COMMITTED '
                                  '(where the other level is the default: '
                                  'SET default_transaction_isolation = ''read committed'')',
                                  pg_catalog.upper(pg_catalog.current_setting('transaction_isolation'))) END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._isolation_problem() FROM PUBLIC;

-- Runs what _role_command has written. From PostgreSQL 16 on every role keeper owns a copy of this function (made by
-- _new_role_keeper) which runs as that keeper; on 15 it is called itself and runs as the owner role. Only the owner
-- role may call it or its copies, and only _role_command and _as_keeper do. That gives the owner role no power that it
-- does not have through the actions there. It names nothing in the registry, since a keeper has no rights there.
--
-- It is one expression on purpose. A session remembers the plan of every expression of every function that it ever
-- called, and walks through all of these plans whenever a schema is made, its own or another session's. With the
-- actions in here, ten expressions in each of 300 copies were a third of what a tenant cost.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._keep(text, text[], text);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._keep(statements text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE statements;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._keep(text) FROM PUBLIC;

-- The identifier that initdb gave the server, or null where it may not be asked. Standbys and physical backups share
-- it; a server that pg_upgrade made or a dump was restored into has another.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._system_identifier() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (SELECT s.system_identifier FROM pg_control_system() AS s);
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._system_identifier() FROM PUBLIC;

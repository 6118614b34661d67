-- Removes a sandbox with all that is in it, entered or not. A name that no sandbox has, and one that is gone, do nothing.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._close_sandbox(sandbox text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET client_min_messages = warning
AS $function$
BEGIN
    IF sandbox ~ '^edu_matrix_work_[0-9a-f]{32}$'
       AND EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = sandbox AND n.nspowner = current_user::regrole) THEN
        EXECUTE format('DROP SCHEMA %I CASCADE', sandbox);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_sandbox(text) FROM PUBLIC;

-- Removes a sandbox with all that is in it, entered or not. A name that no sandbox has, and one that is
-- gone, do nothing.
--
-- Two things in it belong to the tenant's owner, which can lock them without end. So this waits for a second only: what
-- another session holds then is left, and the survey removes it. So is what fails in any other way: a sandbox that
-- stays costs little, and a job that cannot be ended or a survey that fails because of one would cost all tenants.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._close_sandbox(sandbox text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET client_min_messages = warning
SET lock_timeout = '1s'
AS $function$
BEGIN
    IF sandbox ~ '^edu_matrix_work_[0-9a-f]{32}$'
       AND EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = sandbox AND n.nspowner = current_user::regrole) THEN
        EXECUTE format('DROP SCHEMA %I CASCADE', sandbox);
    END IF;
EXCEPTION WHEN OTHERS THEN
    NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._close_sandbox(text) FROM PUBLIC;

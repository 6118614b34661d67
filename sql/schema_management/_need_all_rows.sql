-- Raises when row-level security hides rows of the registry from its own functions. It is on for these tables,
-- without policies, so that no role but their owner sees anything; a superuser, or an event trigger that does it to
-- every table, can force it on the owner too. Then every query would answer as if there were no tenants, which is
-- worse than no answer. The code is that of a missing right: the operator opens the database again, and its
-- TenantDatabase tells the statement.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._need_all_rows() RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    forced record;
BEGIN
    -- One expression, for every call begins with it.
    IF NOT (row_security_active('edu_matrix_hub_schema.installation'::regclass)
            OR row_security_active('edu_matrix_hub_schema.tenant_schemas'::regclass)
            OR row_security_active('edu_matrix_hub_schema.tenant_adoptions'::regclass)
            OR row_security_active('edu_matrix_hub_schema.schema_backups'::regclass)
            OR row_security_active('edu_matrix_hub_schema.archive_uploads'::regclass)
            OR row_security_active('edu_matrix_hub_schema.schema_jobs'::regclass)
            OR row_security_active('edu_matrix_hub_schema.scratch_databases'::regclass)
            OR row_security_active('edu_matrix_hub_schema.schema_operations'::regclass)
            OR row_security_active('edu_matrix_hub_schema.role_keepers'::regclass)
            OR row_security_active('edu_matrix_hub_schema.tenant_credentials'::regclass)
            OR row_security_active('edu_matrix_hub_schema.opened_logins'::regclass)
            OR row_security_active('edu_matrix_hub_schema.login_transactions'::regclass)
            OR row_security_active('edu_matrix_hub_schema.tenant_sessions'::regclass)
            OR row_security_active('edu_matrix_hub_schema.quota_files'::regclass)
            OR row_security_active('edu_matrix_hub_schema.tenant_grants'::regclass)
            OR row_security_active('edu_matrix_hub_schema.tenant_grantees'::regclass)
            OR row_security_active('edu_matrix_hub_schema.taken_dependents'::regclass)
            OR row_security_active('edu_matrix_hub_schema.tenant_row_security'::regclass)
            OR row_security_active('edu_matrix_hub_schema.row_security_objects'::regclass)
            OR row_security_active('edu_matrix_hub_schema.institutions'::regclass)
            OR row_security_active('edu_matrix_hub_schema.tenant_locks'::regclass)
            OR row_security_active('edu_matrix_hub_schema.registry_locks'::regclass)
            OR row_security_active('edu_matrix_hub_schema.lane_lock'::regclass)) THEN
        RETURN;
    END IF;
    SELECT string_agg(quote_ident(c.relname), ', ' ORDER BY c.relname) AS tables,
           string_agg(format('ALTER TABLE edu_matrix_hub_schema.%I NO FORCE ROW LEVEL SECURITY', c.relname), '; '
                      ORDER BY c.relname) AS statements,
           edu_matrix_hub_schema._event_triggers() AS event_triggers
    INTO forced
    FROM pg_class AS c
    WHERE c.relnamespace = 'edu_matrix_hub_schema'::regnamespace AND c.relkind = 'r' AND row_security_active(c.oid);
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = format('row-level security is forced on tables of the registry (%s) and hides their rows from the '
                         'functions%s; run as a superuser: %s', forced.tables,
                         coalesce('; if an event trigger did it (there are: ' || forced.event_triggers
                                  || '), let it leave out this schema', ''), forced.statements);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._need_all_rows() FROM PUBLIC;

-- Makes the role that may delete from a tenant's tables while its writes are blocked by the quota, if it is missing,
-- and gives it DELETE where the writer role has it and it lacks it, on 5,000 tables and views in one call, but for
-- those from which a delete would write (see _deletes_as_owner). Its members read as members of the reader role. It
-- keeps its grants when writes are given back, and has no members then. The tenant chooses how its tables are called
-- and what they are made of, so what fails is left: deletes from that one are refused.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._ready_deleter(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    name    CONSTANT text := edu_matrix_hub_schema._deleter_name(tenant);
    number  oid := (SELECT t.deleter_role_oid FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant.id);
    former  CONSTANT text := current_setting('lock_timeout');
    -- A session that holds one of the tables costs the others no more than this.
    give_up CONSTANT timestamptz := clock_timestamp() + interval '2 seconds';
    wrong   record;
    objects record;
    single  text;
BEGIN
    SELECT * INTO wrong FROM edu_matrix_hub_schema._role_problem(name, number);
    IF wrong.what IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse(CASE WHEN number IS NULL THEN 'name_taken' ELSE 'not_repairable' END,
                                              format('%s; a DBA can run: %s', wrong.what, wrong.statement));
    END IF;
    IF to_regrole(quote_ident(name)) IS NULL THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'create', ARRAY[name]);
        number := to_regrole(quote_ident(name));
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET deleter_role_oid = number WHERE t.id = tenant.id;
    END IF;
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
    PERFORM set_config('lock_timeout', '100ms', true);
    FOR objects IN
        SELECT array_agg(o.name) AS names
        FROM (SELECT format('%I.%I', tenant.schema_name, c.relname) AS name, row_number() OVER (ORDER BY c.oid) AS n
              FROM pg_depend AS d
              JOIN pg_class AS c ON c.oid = d.objid
              WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = tenant.schema_oid
                AND d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'f')
                AND c.relowner = tenant.owner_role_oid
                AND EXISTS (SELECT FROM aclexplode(c.relacl) AS a
                            WHERE a.grantee = tenant.writer_role_oid AND a.privilege_type = 'DELETE')
                AND NOT EXISTS (SELECT FROM aclexplode(c.relacl) AS a
                                WHERE a.grantee = number AND a.privilege_type = 'DELETE')
                AND c.oid NOT IN (SELECT x.oid FROM edu_matrix_hub_schema._deletes_as_owner(tenant) AS x)
              ORDER BY c.oid LIMIT 5000) AS o
        GROUP BY (o.n - 1) / 500
    LOOP
        BEGIN
            EXECUTE format('GRANT DELETE ON TABLE %s TO %I', array_to_string(objects.names, ', '), name);
            CONTINUE;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR lock_not_available
                       OR internal_error THEN
            NULL;
        END;
        FOREACH single IN ARRAY objects.names LOOP
            EXIT WHEN clock_timestamp() > give_up;
            BEGIN
                EXECUTE format('GRANT DELETE ON TABLE %s TO %I', single, name);
            EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR lock_not_available
                           OR internal_error THEN
                NULL;
            END;
        END LOOP;
    END LOOP;
    PERFORM set_config('lock_timeout', former, true);
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._ready_deleter(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

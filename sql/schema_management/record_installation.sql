-- Ends the installing script: gives the functions to the operator and the admin role, stamps what was installed, and
-- brings the functions of the role keepers up to date. Only the owner role may call it, because what it stamps comes
-- from settings of the session.
--
-- EXECUTE is taken from PUBLIC for every function, and the private ones (their names begin with _) are the owner's
-- alone. The operator role has all others. The admin role, which a person or an application may have, has those for
-- people and those that observe: nothing that takes an epoch, opens a login or speaks for an object of a cluster.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.record_installation() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    for_admins CONSTANT text[] := ARRAY[
        'create_institution_schema', 'drop_institution_schema', 'backup_institution_schema', 'restore_set_aside',
        'accept_missing_tables', 'purge_schema_backup', 'adoption_statements', 'end_kept_role',
        'installation', 'observe_tenant', 'observe_backup'];
    roles  edu_matrix_hub_schema.installation;
    target record;
BEGIN
    PERFORM edu_matrix_hub_schema._need_all_rows();
    SELECT * INTO STRICT roles FROM edu_matrix_hub_schema.installation AS i;

    REVOKE ALL ON SCHEMA edu_matrix_hub_schema FROM PUBLIC;
    EXECUTE format('GRANT USAGE ON SCHEMA edu_matrix_hub_schema TO %I, %I', roles.admin_role, roles.operator_role);
    FOR target IN
        SELECT p.oid::regprocedure AS signature, w.role_name, w.may_call
        FROM pg_proc AS p
        CROSS JOIN LATERAL (VALUES
            (roles.admin_role, p.proname = ANY (for_admins)),
            (roles.operator_role, left(p.proname, 1) <> '_' AND p.proname <> 'record_installation')
        ) AS w (role_name, may_call)
        WHERE p.pronamespace = 'edu_matrix_hub_schema'::regnamespace AND p.proowner = current_user::regrole
        ORDER BY p.oid
    LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', target.signature);
        EXECUTE format(CASE WHEN target.may_call THEN 'GRANT EXECUTE ON ROUTINE %s TO %I'
                            ELSE 'REVOKE ALL ON ROUTINE %s FROM %I' END,
                       target.signature, target.role_name);
    END LOOP;
    PERFORM edu_matrix_hub_schema._update_role_keepers();

    UPDATE edu_matrix_hub_schema.installation AS i
    SET functions_version     = current_setting('edu_matrix.functions_version'),
        functions_checksum    = current_setting('edu_matrix.functions_checksum'),
        contract              = current_setting('edu_matrix.contract')::integer,
        functions_fingerprint = edu_matrix_hub_schema._functions_fingerprint(),
        registry_oid          = coalesce(i.registry_oid, 'edu_matrix_hub_schema'::regnamespace),
        system_identifier     = coalesce(i.system_identifier, edu_matrix_hub_schema._system_identifier()),
        updated_at            = now();
    RETURN edu_matrix_hub_schema.installation();
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.record_installation() FROM PUBLIC;

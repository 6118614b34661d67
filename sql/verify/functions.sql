-- Raises unless every management function is there as installed: owned by the registry's owner, closed to PUBLIC, and, as its
-- line says, running as its owner with a fixed search_path, and open to the admin role. A new function is a new line.
DO $verify$
DECLARE
    problem text;
BEGIN
    SELECT string_agg(format('%s(%s) %s', f.name, f.arguments, f.problem), '; ') INTO problem
    FROM (
        SELECT w.name, w.arguments, CASE
            WHEN p.oid IS NULL THEN 'is missing'
            WHEN p.proowner <> n.nspowner THEN 'does not belong to the owner role'
            WHEN p.prosecdef <> w.definer THEN 'runs as the wrong role'
            WHEN w.definer AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c LIKE 'search_path=pg_catalog, %pg_temp') THEN 'has no fixed search_path'
            WHEN p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0) THEN 'is open to PUBLIC'
            WHEN w.is_public <> EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE pg_get_userbyid(a.grantee) = regexp_replace(pg_get_userbyid(n.nspowner), '_owner$', '') || '_admin')
            THEN CASE WHEN w.is_public THEN 'is closed to the admin role' ELSE 'is open to the admin role' END
            END AS problem
        FROM (VALUES
            ('_arguments_without_defaults', 'function oid', true, false),
            ('_at_work', 'schema_id uuid', true, false),
            ('_backup_location', 'schema_name text, at timestamp with time zone', true, false),
            ('_backup_row', 'backup edu_matrix_hub_schema.schema_backups', false, false),
            ('_blocker', 'schema_id uuid, relations oid[]', true, false),
            ('_build_tenant_schema', 'tenant edu_matrix_hub_schema.tenant_schemas', true, false),
            ('_cancel_snapshots', 'schema_id uuid, backup_id uuid, waiting_only boolean', true, false),
            ('_check_institution', 'institution_id uuid, register boolean, source jsonb', true, false),
            ('_check_owner', 'tenant edu_matrix_hub_schema.tenant_schemas, owner jsonb', true, false),
            ('_checking_all_rows', 'reference jsonb', true, false),
            ('_choose_role_keeper', '', true, false),
            ('_claim', 'tenant edu_matrix_hub_schema.tenant_schemas', false, false),
            ('_close_sandbox', 'sandbox text', true, false),
            ('_close_tenant_logins', 'schema_id uuid', true, false),
            ('_comment_on_constraint', 'wanted oid', true, false),
            ('_create_tenant_roles', 'schema_id uuid', true, false),
            ('_cut', 'whole text', false, false),
            ('_definition', 'relation oid, function oid, wanted boolean, patient boolean, OUT text text, OUT note text', true, false),
            ('_cut_document', 'whole jsonb', false, false),
            ('_cut_message', 'whole text', false, false),
            ('_cut_part', 'whole jsonb, depth integer', false, false),
            ('_deletion_brake', 'brake jsonb', true, false),
            ('_describe_schema', 'namespace oid', true, false),
            ('_describe_tables', 'namespace oid', true, false),
            ('_drift', 'schema_ids uuid[]', true, false),
            ('_drop_inside', 'namespace oid, kind text, names text, catalog oid, objects oid[]', true, false),
            ('_drop_rest', 'namespace oid, tables oid[]', true, false),
            ('_drop_tenant_roles', 'schema_id uuid', true, false),
            ('_end_job', 'job_id uuid, outcome text, error text, counted boolean, reason text', true, false),
            ('_enter_sandbox', 'schema_id uuid, sandbox text, tasks jsonb', true, false),
            ('_failure', 'type text, schema_id uuid, requested_by text, started_at timestamp with time zone, attempt text, state text, error_message text, error_detail text', true, false),
            ('_falling', 'namespace oid, catalog oid, objects oid[]', true, false),
            ('_functions_fingerprint', '', true, false),
            ('_give_back_access', 'tenant edu_matrix_hub_schema.tenant_schemas', true, false),
            ('_grant_on_objects', 'tenant edu_matrix_hub_schema.tenant_schemas', true, false),
            ('_grant_tenant_owner', 'schema_id uuid', true, false),
            ('_grants_without', 'grants jsonb, names text[]', true, false),
            ('_hold_lane', 'epoch bigint, installation_id uuid', true, false),
            ('_home_schema', 'classid oid, objid oid', false, false),
            ('_institution_in_source', 'institution_id uuid, source jsonb', true, false),
            ('_isolation_problem', '', false, false),
            ('_job_answer', 'job edu_matrix_hub_schema.schema_jobs, answer jsonb', true, false),
            ('_join_members', 'backup edu_matrix_hub_schema.schema_backups, tenant edu_matrix_hub_schema.tenant_schemas', true, false),
            ('_keep', 'action text, roles text[], member text', true, false),
            ('_leave_members', 'tenant edu_matrix_hub_schema.tenant_schemas', true, false),
            ('_lighten', 'namespace oid, heavy oid, budget bigint', true, false),
            ('_lock_budget', '', true, false),
            ('_lock_tables', 'tables oid[]', true, false),
            ('_lock_tenant', 'schema_id uuid, kind text, exclusive boolean', true, false),
            ('_log', 'schema_id uuid, type text, status text, requested_by text, started_at timestamp with time zone, description text, metadata jsonb, error text, sqlstate text', true, false),
            ('_make_snapshot', 'schema_id uuid, sandbox text', true, false),
            ('_may_pass', 'state text, message text', false, false),
            ('_measure_schema', 'namespace oid, exactly boolean', true, false),
            ('_need_read_committed', '', true, false),
            ('_new_role_keeper', 'parent integer', true, false),
            ('_only_ours', 'location text', true, false),
            ('_open_sandbox', 'schema_id uuid', true, false),
            ('_outside_dependents', 'namespace oid, catalog oid, objects oid[]', true, false),
            ('_outside_references', 'namespace oid, patient boolean', true, false),
            ('_persist', 'statement text', true, false),
            ('_prune_log', '', true, false),
            ('_publications', 'namespace oid', true, false),
            ('_purge', 'backup_id uuid, requested_by text', true, false),
            ('_purge_part', 'namespace oid, begun boolean', true, false),
            ('_queue_expired', 'requested_by text', true, false),
            ('_queue_purge', 'backup_id uuid, requested_by text', true, false),
            ('_record_snapshot', 'backup_id uuid, facts jsonb', true, false),
            ('_refuse', 'reason text, message text, detail jsonb', false, false),
            ('_refuse_dependents', 'namespace oid, way_out text, catalog oid, objects oid[]', true, false),
            ('_remake_references', 'backup edu_matrix_hub_schema.schema_backups', true, false),
            ('_restorable', 'backup edu_matrix_hub_schema.schema_backups, tenant edu_matrix_hub_schema.tenant_schemas', true, false),
            ('_result', 'status text, message text, schema_id uuid, detail jsonb', false, false),
            ('_revoke_tenant_owner', 'schema_id uuid', true, false),
            ('_role_command', 'keeper integer, action text, roles text[], member text', true, false),
            ('_role_numbers', 'tenant edu_matrix_hub_schema.tenant_schemas, members jsonb, grants jsonb', true, false),
            ('_schema_grants', 'schema_name text', true, false),
            ('_schema_members', 'namespace oid', true, false),
            ('_schema_name_problem', 'schema_name text', true, false),
            ('_schema_weights', 'namespace oid, wanted text, most bigint', true, false),
            ('_set_aside', 'tenant edu_matrix_hub_schema.tenant_schemas, expire_after_days integer, requested_by text', true, false),
            ('_snapshot_content', 'location text, tables jsonb', true, false),
            ('_snapshot_tables', 'namespace oid, reader oid', true, false),
            ('_standing_tenant', 'wanted edu_matrix_hub_schema.tenant_schemas', true, false),
            ('_store_fingerprint', 'schema_id uuid', true, false),
            ('_take_references', 'tenant_id uuid, refs jsonb, OUT taken jsonb, OUT remaining jsonb', true, false),
            ('_take_schema_grants', 'tenant edu_matrix_hub_schema.tenant_schemas, only_strangers boolean', true, false),
            ('_tenant_drift', 'schema_id uuid', true, false),
            ('_tenant_drifts', 'schema_ids uuid[]', true, false),
            ('_tenant_lock', 'schema_id uuid, kind text, exclusive boolean', true, false),
            ('_update_role_keepers', '', true, false),
            ('_usual_acl', 'tenant edu_matrix_hub_schema.tenant_schemas', false, false),
            ('_waited_long', 'tenant_id uuid, type text', true, false),
            ('_write_keeper_function', 'keeper integer, role_name text', true, false),
            ('apply_steps', 'epoch bigint, installation_id uuid, steps jsonb', true, true),
            ('backup_institution_schema', 'schema_id uuid', true, true),
            ('cancel_backup', 'options jsonb', true, true),
            ('cancel_tenant_jobs', 'options jsonb', true, true),
            ('claim_job', 'epoch bigint, installation_id uuid, options jsonb', true, true),
            ('claim_lane', 'options jsonb', true, true),
            ('create_institution_schema', 'institution_id uuid, schema_name text', true, true),
            ('create_tenant_schema', 'options jsonb', true, true),
            ('drop_institution_schema', 'schema_id uuid', true, true),
            ('end_stray_sessions', '', false, true),
            ('finish_job', 'epoch bigint, installation_id uuid, job_id uuid, outcome jsonb', true, true),
            ('heartbeat_job', 'epoch bigint, installation_id uuid, job_id uuid', true, true),
            ('installation', '', true, true),
            ('observe_backup', 'request jsonb', true, true),
            ('observe_tenant', 'request jsonb', true, true),
            ('purge_schema_backup', 'backup_id uuid', true, true),
            ('reclaim_tenant_schema', 'options jsonb', true, true),
            ('record_installation', '', true, false),
            ('recreate_tenant_schema', 'options jsonb', true, true),
            ('release_lane', 'epoch bigint, installation_id uuid', true, true),
            ('release_tenants', 'options jsonb', true, true),
            ('repair_tenant_schema', 'options jsonb', true, true),
            ('request_backup', 'options jsonb', true, true),
            ('request_purge', 'options jsonb', true, true),
            ('restore_set_aside', 'backup_id uuid', true, true),
            ('restore_tenant_schema', 'options jsonb', true, true),
            ('run_job', 'epoch bigint, installation_id uuid, job_id uuid', true, true),
            ('set_aside_tenant_schema', 'options jsonb', true, true),
            ('set_tenant_access', 'options jsonb', true, true),
            ('set_tenant_config', 'options jsonb', true, true),
            ('stray_sessions', '', true, true),
            ('survey_tenants', 'epoch bigint, installation_id uuid, options jsonb', true, true)
        ) AS w (name, arguments, definer, is_public)
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'edu_matrix_hub_schema'
        LEFT JOIN pg_catalog.pg_proc AS p
          ON p.pronamespace = n.oid AND p.proname = w.name AND pg_catalog.pg_get_function_identity_arguments(p.oid) = w.arguments
    ) AS f
    WHERE f.problem IS NOT NULL;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem;
    END IF;
END
$verify$;

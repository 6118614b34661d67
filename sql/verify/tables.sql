-- Raises with everything in which the tables and views of the registry differ from what is written here. Each belongs
-- to the registry's owner and no other role may touch it; a table has row-level security without FORCE; every column,
-- constraint, index and trigger is as its line says, in the words of the catalogue without `::text` and our schema's
-- name. A constraint that is not validated is missing, and so are an index that is not valid and a trigger that is off.
-- A new column is a new line.
DO $verify$
DECLARE
    problem text;
BEGIN
    SELECT string_agg(p.text, chr(10)) INTO problem
    FROM (
        SELECT 'schema edu_matrix_hub_schema is open to PUBLIC, or others may create in it' AS text
        FROM pg_catalog.pg_namespace AS n CROSS JOIN aclexplode(n.nspacl) AS a
        WHERE n.nspname = 'edu_matrix_hub_schema'
          AND (a.grantee = 0 OR (a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner))
        UNION ALL
        SELECT format('%s %s %s', w.kind, w.name, CASE
            WHEN c.oid IS NULL THEN 'is missing'
            WHEN c.relowner <> n.nspowner THEN 'does not belong to the owner of the registry'
            WHEN EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner)
                THEN 'may be touched by others than its owner'
            ELSE 'needs row-level security, and not FORCE' END)
        FROM (VALUES
            ('installation', 'table'),
            ('role_keepers', 'table'),
            ('institutions', 'table'),
            ('migration_logins', 'view'),
            ('tenant_schemas', 'table'),
            ('tenant_adoptions', 'table'),
            ('schema_operations', 'table'),
            ('schema_backups', 'table'),
            ('schema_jobs', 'table'),
            ('tenant_credentials', 'table'),
            ('opened_logins', 'table'),
            ('lane_lock', 'table'),
            ('registry_locks', 'table'),
            ('tenant_locks', 'table'),
            ('tenant_fingerprints', 'view'),
            ('schema_activity', 'view'),
            ('tenant_rows', 'view')
        ) AS w (name, kind)
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'edu_matrix_hub_schema'
        LEFT JOIN pg_catalog.pg_class AS c
          ON c.relnamespace = n.oid AND c.relname = w.name
         AND c.relkind = CASE w.kind WHEN 'table' THEN 'r' ELSE 'v' END
        WHERE c.oid IS NULL OR c.relowner <> n.nspowner
           OR EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner)
           OR w.kind = 'table' AND (NOT c.relrowsecurity OR c.relforcerowsecurity)
        UNION ALL
        SELECT format('%s %s.%s is "%s" and not "%s"', w.kind, w.relation, w.name, coalesce(f.definition, 'missing'),
                      w.definition)
        FROM (VALUES
            ('installation', 'column', 'singleton', 'boolean NOT NULL DEFAULT true'),
            ('installation', 'column', 'installation_id', 'uuid NOT NULL DEFAULT gen_random_uuid()'),
            ('installation', 'column', 'owner_role', 'text NOT NULL'),
            ('installation', 'column', 'admin_role', 'text NOT NULL'),
            ('installation', 'column', 'operator_role',
             'text NOT NULL DEFAULT ("left"(regexp_replace((CURRENT_USER), ''_owner$'', ''''), 54) || ''_operator'')'),
            ('installation', 'column', 'functions_version', 'text'),
            ('installation', 'column', 'functions_checksum', 'text'),
            ('installation', 'column', 'functions_fingerprint', 'text'),
            ('installation', 'column', 'contract', 'integer'),
            ('installation', 'column', 'cluster', 'text'),
            ('installation', 'column', 'tenant_database', 'text'),
            ('installation', 'column', 'holder', 'text'),
            ('installation', 'column', 'epoch', 'bigint NOT NULL DEFAULT 0'),
            ('installation', 'column', 'claimed_at', 'timestamp with time zone'),
            ('installation', 'column', 'surveyed_at', 'timestamp with time zone'),
            ('installation', 'column', 'pruned_at', 'timestamp with time zone'),
            ('installation', 'column', 'installed_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('installation', 'column', 'updated_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('installation', 'column', 'fingerprint_key',
             'bigint NOT NULL DEFAULT hashtextextended((gen_random_uuid()), (0)::bigint)'),
            ('installation', 'column', 'claim_id', 'uuid'),
            ('installation', 'column', 'lease', 'text'),
            ('installation', 'column', 'claimed_from', 'text'),
            ('installation', 'column', 'heartbeat_at', 'timestamp with time zone'),
            ('installation', 'column', 'beats', 'bigint NOT NULL DEFAULT 0'),
            ('installation', 'column', 'contested_at', 'timestamp with time zone'),
            ('installation', 'column', 'contested_by', 'jsonb'),
            ('installation', 'column', 'unsettled_until', 'timestamp with time zone'),
            ('installation', 'column', 'timeline', 'bigint'),
            ('installation', 'column', 'place', 'text'),
            ('installation', 'column', 'quiet_since', 'timestamp with time zone'),
            ('installation', 'column', 'quiet_until', 'timestamp with time zone'),
            ('installation', 'column', 'quiet_reason', 'text'),
            ('installation', 'column', 'confirmed_until', 'timestamp with time zone'),
            ('installation', 'column', 'expiry_stopped_at', 'timestamp with time zone'),
            ('installation', 'column', 'bring_back_since', 'timestamp with time zone'),
            ('installation', 'column', 'bring_back_until', 'timestamp with time zone'),
            ('installation', 'column', 'bring_backs', 'jsonb NOT NULL DEFAULT ''[]''::jsonb'),
            ('installation', 'column', 'registry_oid', 'oid'),
            ('installation', 'column', 'connect_role_oid', 'oid'),
            ('installation', 'column', 'system_identifier', 'bigint'),
            ('installation', 'constraint', 'installation_pkey', 'PRIMARY KEY (singleton)'),
            ('installation', 'constraint', 'installation_singleton_check', 'CHECK (singleton)'),
            ('role_keepers', 'column', 'n', 'integer NOT NULL'),
            ('role_keepers', 'column', 'parent', 'integer'),
            ('role_keepers', 'column', 'role_name', 'text NOT NULL'),
            ('role_keepers', 'column', 'function_name', 'text NOT NULL'),
            ('role_keepers', 'column', 'is_open', 'boolean NOT NULL DEFAULT true'),
            ('role_keepers', 'column', 'created_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('role_keepers', 'column', 'role_oid', 'oid'),
            ('role_keepers', 'constraint', 'role_keepers_function_name_key', 'UNIQUE (function_name)'),
            ('role_keepers', 'constraint', 'role_keepers_parent_fkey',
             'FOREIGN KEY (parent) REFERENCES role_keepers(n)'),
            ('role_keepers', 'constraint', 'role_keepers_pkey', 'PRIMARY KEY (n)'),
            ('role_keepers', 'constraint', 'role_keepers_role_name_key', 'UNIQUE (role_name)'),
            ('role_keepers', 'index', 'role_keepers_open', 'btree (n) WHERE (is_open AND (parent IS NOT NULL))'),
            ('role_keepers', 'index', 'role_keepers_parent', 'btree (parent)'),
            ('institutions', 'column', 'id', 'uuid NOT NULL'),
            ('institutions', 'column', 'name', 'text'),
            ('institutions', 'column', 'status', 'text NOT NULL DEFAULT ''active'''),
            ('institutions', 'column', 'created_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('institutions', 'column', 'updated_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('institutions', 'column', 'source_status', 'text'),
            ('institutions', 'constraint', 'institutions_name_check', 'CHECK ((octet_length(name) <= 1024))'),
            ('institutions', 'constraint', 'institutions_pkey', 'PRIMARY KEY (id)'),
            ('institutions', 'constraint', 'institutions_source_status_check',
             'CHECK ((source_status = ANY (ARRAY[''active'', ''suspended'', ''gone''])))'),
            ('institutions', 'constraint', 'institutions_status_check',
             'CHECK ((status = ANY (ARRAY[''active'', ''suspended'', ''closed''])))'),
            ('tenant_schemas', 'column', 'id', 'uuid NOT NULL DEFAULT gen_random_uuid()'),
            ('tenant_schemas', 'column', 'institution_id', 'uuid'),
            ('tenant_schemas', 'column', 'schema_name', 'text NOT NULL'),
            ('tenant_schemas', 'column', 'owner_cluster', 'text'),
            ('tenant_schemas', 'column', 'owner_namespace', 'text'),
            ('tenant_schemas', 'column', 'owner_name', 'text'),
            ('tenant_schemas', 'column', 'owner_uid', 'text'),
            ('tenant_schemas', 'column', 'status', 'text NOT NULL'),
            ('tenant_schemas', 'column', 'access', 'text NOT NULL DEFAULT ''ReadWrite'''),
            ('tenant_schemas', 'column', 'config', 'jsonb NOT NULL DEFAULT ''{}''::jsonb'),
            ('tenant_schemas', 'column', 'version', 'bigint NOT NULL DEFAULT 1'),
            ('tenant_schemas', 'column', 'quota_limit', 'bigint'),
            ('tenant_schemas', 'column', 'keeper', 'integer'),
            ('tenant_schemas', 'column', 'owner_role', 'text NOT NULL'),
            ('tenant_schemas', 'column', 'reader_role', 'text NOT NULL'),
            ('tenant_schemas', 'column', 'writer_role', 'text NOT NULL'),
            ('tenant_schemas', 'column', 'logins', 'text[] NOT NULL DEFAULT ''{}''[]'),
            ('tenant_schemas', 'column', 'saved_acl', 'jsonb'),
            ('tenant_schemas', 'column', 'closed_logins', 'text[] NOT NULL DEFAULT ''{}''[]'),
            ('tenant_schemas', 'column', 'table_count', 'integer NOT NULL DEFAULT 0'),
            ('tenant_schemas', 'column', 'storage_used', 'bigint NOT NULL DEFAULT 0'),
            ('tenant_schemas', 'column', 'usage_stale', 'boolean NOT NULL DEFAULT false'),
            ('tenant_schemas', 'column', 'usage_at', 'timestamp with time zone'),
            ('tenant_schemas', 'column', 'write_signature', 'numeric NOT NULL DEFAULT 0'),
            ('tenant_schemas', 'column', 'fingerprint', 'numeric'),
            ('tenant_schemas', 'column', 'drift', 'jsonb NOT NULL DEFAULT ''[]''::jsonb'),
            ('tenant_schemas', 'column', 'reported', 'bigint'),
            ('tenant_schemas', 'column', 'last_optimized', 'timestamp with time zone'),
            ('tenant_schemas', 'column', 'last_backup', 'timestamp with time zone'),
            ('tenant_schemas', 'column', 'created_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('tenant_schemas', 'column', 'updated_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('tenant_schemas', 'column', 'dropped_at', 'timestamp with time zone'),
            ('tenant_schemas', 'column', 'taken_over', 'boolean NOT NULL DEFAULT false'),
            ('tenant_schemas', 'column', 'schema_oid', 'oid'),
            ('tenant_schemas', 'column', 'owner_role_oid', 'oid'),
            ('tenant_schemas', 'column', 'reader_role_oid', 'oid'),
            ('tenant_schemas', 'column', 'writer_role_oid', 'oid'),
            ('tenant_schemas', 'column', 'owner_namespace_uid', 'text'),
            ('tenant_schemas', 'column', 'login_oids', 'oid[] NOT NULL DEFAULT ''{}''::oid[]'),
            ('tenant_schemas', 'column', 'deletion_requested_at', 'timestamp with time zone'),
            ('tenant_schemas', 'column', 'recreations', 'integer NOT NULL DEFAULT 0'),
            ('tenant_schemas', 'column', 'foreign_tables', 'jsonb'),
            ('tenant_schemas', 'column', 'size_estimate', 'jsonb'),
            ('tenant_schemas', 'column', 'shared_with', 'text[] NOT NULL DEFAULT ''{}''[]'),
            ('tenant_schemas', 'column', 'access_cause', 'text'),
            ('tenant_schemas', 'column', 'adopted_objects', 'integer'),
            ('tenant_schemas', 'column', 'kept_roles', 'text[] NOT NULL DEFAULT ''{}''[]'),
            ('tenant_schemas', 'column', 'kept_role_oids', 'oid[] NOT NULL DEFAULT ''{}''::oid[]'),
            ('tenant_schemas', 'column', 'taken_members', 'jsonb'),
            ('tenant_schemas', 'column', 'taken_grants', 'jsonb'),
            ('tenant_schemas', 'column', 'deleter_role_oid', 'oid'),
            ('tenant_schemas', 'column', 'writers_due', 'boolean NOT NULL DEFAULT false'),
            ('tenant_schemas', 'column', 'writers_due_seen_at', 'timestamp with time zone'),
            ('tenant_schemas', 'column', 'isolation', 'jsonb'),
            ('tenant_schemas', 'column', 'isolation_at', 'timestamp with time zone'),
            ('tenant_schemas', 'constraint', 'tenant_schemas_access_check',
             'CHECK ((access = ANY (ARRAY[''ReadWrite'', ''WriteBlocked'', ''ReadOnly'', ''Suspended''])))'),
            ('tenant_schemas', 'constraint', 'tenant_schemas_access_cause_check',
             'CHECK ((access_cause = ANY (ARRAY[''Spec'', ''Quota'', ''Institution''])))'),
            ('tenant_schemas', 'constraint', 'tenant_schemas_config_check',
             'CHECK ((octet_length((config)) <= 65536))'),
            ('tenant_schemas', 'constraint', 'tenant_schemas_institution_id_fkey',
             'FOREIGN KEY (institution_id) REFERENCES institutions(id)'),
            ('tenant_schemas', 'constraint', 'tenant_schemas_pkey', 'PRIMARY KEY (id)'),
            ('tenant_schemas', 'constraint', 'tenant_schemas_quota_limit_check', 'CHECK ((quota_limit >= 0))'),
            ('tenant_schemas', 'constraint', 'tenant_schemas_status_check',
             'CHECK ((status = ANY (ARRAY[''active'', ''suspended'', ''dropping'', ''released'', ''dropped''])))'),
            ('tenant_schemas', 'index', 'tenant_schemas_deletion',
             'btree (COALESCE(deletion_requested_at, '
             'dropped_at)) WHERE ((status = ''dropped'') AND (owner_uid IS NOT NULL))'),
            ('tenant_schemas', 'index', 'tenant_schemas_institution_id_dropped',
             'btree (institution_id, dropped_at) WHERE (status = ''dropped'')'),
            ('tenant_schemas', 'index', 'tenant_schemas_institution_id_key',
             'UNIQUE btree (institution_id) WHERE (status <> ''dropped'')'),
            ('tenant_schemas', 'index', 'tenant_schemas_isolation_at',
             'btree (isolation_at NULLS FIRST) WHERE ((status = ''active'') AND (access <> ''Suspended''))'),
            ('tenant_schemas', 'index', 'tenant_schemas_keeper', 'btree (keeper) WHERE (keeper IS NOT NULL)'),
            ('tenant_schemas', 'index', 'tenant_schemas_not_isolated',
             'btree (isolation_at NULLS FIRST) WHERE ((status = ''active'') AND (access <> ''Suspended'') '
             'AND (isolation <> ''[]''::jsonb))'),
            ('tenant_schemas', 'index', 'tenant_schemas_owner_uid_dropped',
             'btree (owner_uid, dropped_at) WHERE (status = ''dropped'')'),
            ('tenant_schemas', 'index', 'tenant_schemas_owner_uid_key',
             'UNIQUE btree (owner_uid) WHERE (status <> ''dropped'')'),
            ('tenant_schemas', 'index', 'tenant_schemas_schema_name_dropped',
             'btree (schema_name, dropped_at) WHERE (status = ''dropped'')'),
            ('tenant_schemas', 'index', 'tenant_schemas_schema_name_key',
             'UNIQUE btree (schema_name) WHERE (status <> ''dropped'')'),
            ('tenant_schemas', 'index', 'tenant_schemas_suspended',
             'btree (id) WHERE ((access = ''Suspended'') AND (status <> ''dropped''))'),
            ('tenant_schemas', 'index', 'tenant_schemas_writers_due', 'btree (id) WHERE writers_due'),
            ('tenant_schemas', 'trigger', 'remember_logins',
             'BEFORE INSERT OR UPDATE OF logins ON tenant_schemas FOR EACH ROW EXECUTE FUNCTION _remember_logins()'),
            ('schema_operations', 'column', 'id', 'bigint NOT NULL GENERATED ALWAYS AS IDENTITY'),
            ('schema_operations', 'column', 'schema_id', 'uuid'),
            ('schema_operations', 'column', 'type', 'text NOT NULL'),
            ('schema_operations', 'column', 'status', 'text NOT NULL'),
            ('schema_operations', 'column', 'description', 'text'),
            ('schema_operations', 'column', 'metadata', 'jsonb NOT NULL DEFAULT ''{}''::jsonb'),
            ('schema_operations', 'column', 'error', 'text'),
            ('schema_operations', 'column', 'sqlstate', 'text'),
            ('schema_operations', 'column', 'requested_by', 'text NOT NULL'),
            ('schema_operations', 'column', 'started_at', 'timestamp with time zone NOT NULL'),
            ('schema_operations', 'column', 'completed_at', 'timestamp with time zone'),
            ('schema_operations', 'column', 'duration_ms', 'bigint'),
            ('schema_operations', 'constraint', 'schema_operations_pkey', 'PRIMARY KEY (id)'),
            ('schema_operations', 'index', 'schema_operations_schema_id', 'btree (schema_id, id DESC)'),
            ('schema_operations', 'index', 'schema_operations_started_at', 'btree (started_at)'),
            ('schema_backups', 'column', 'id', 'uuid NOT NULL DEFAULT gen_random_uuid()'),
            ('schema_backups', 'column', 'schema_id', 'uuid NOT NULL'),
            ('schema_backups', 'column', 'institution_id', 'uuid'),
            ('schema_backups', 'column', 'schema_name', 'text NOT NULL'),
            ('schema_backups', 'column', 'method', 'text NOT NULL'),
            ('schema_backups', 'column', 'state', 'text NOT NULL DEFAULT ''requested'''),
            ('schema_backups', 'column', 'location', 'text'),
            ('schema_backups', 'column', 'manifest', 'jsonb NOT NULL DEFAULT ''{}''::jsonb'),
            ('schema_backups', 'column', 'size_bytes', 'bigint'),
            ('schema_backups', 'column', 'table_count', 'integer'),
            ('schema_backups', 'column', 'row_count', 'bigint'),
            ('schema_backups', 'column', 'checksum', 'text'),
            ('schema_backups', 'column', 'object_cluster', 'text'),
            ('schema_backups', 'column', 'object_namespace', 'text'),
            ('schema_backups', 'column', 'object_name', 'text'),
            ('schema_backups', 'column', 'object_uid', 'text'),
            ('schema_backups', 'column', 'expire_after_days', 'integer'),
            ('schema_backups', 'column', 'expires_at', 'timestamp with time zone'),
            ('schema_backups', 'column', 'error', 'text'),
            ('schema_backups', 'column', 'requested_by', 'text NOT NULL'),
            ('schema_backups', 'column', 'requested_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('schema_backups', 'column', 'started_at', 'timestamp with time zone'),
            ('schema_backups', 'column', 'completed_at', 'timestamp with time zone'),
            ('schema_backups', 'column', 'purged_at', 'timestamp with time zone'),
            ('schema_backups', 'column', 'updated_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('schema_backups', 'column', 'location_oid', 'oid'),
            ('schema_backups', 'column', 'object_namespace_uid', 'text'),
            ('schema_backups', 'column', 'sessions_due', 'boolean NOT NULL DEFAULT false'),
            ('schema_backups', 'column', 'sessions_due_seen_at', 'timestamp with time zone'),
            ('schema_backups', 'column', 'reported_update', 'timestamp with time zone'),
            ('schema_backups', 'constraint', 'schema_backups_expire_after_days_check',
             'CHECK ((expire_after_days >= 0))'),
            ('schema_backups', 'constraint', 'schema_backups_method_check',
             'CHECK ((method = ANY (ARRAY[''Snapshot'', ''SetAside''])))'),
            ('schema_backups', 'constraint', 'schema_backups_pkey', 'PRIMARY KEY (id)'),
            ('schema_backups', 'constraint', 'schema_backups_state_check',
             'CHECK ((state = ANY (ARRAY[''requested'', ''running'', ''complete'', ''failed'', ''cancelled'', '
             '''purging'', ''purged'', ''restored''])))'),
            ('schema_backups', 'index', 'schema_backups_expires_at',
             'btree (expires_at) WHERE (state = ANY (ARRAY[''complete'', ''purging'']))'),
            ('schema_backups', 'index', 'schema_backups_location', 'btree (location) WHERE (location IS NOT NULL)'),
            ('schema_backups', 'index', 'schema_backups_location_key',
             'UNIQUE btree (location) WHERE (state = ANY (ARRAY[''complete'', ''purging'']))'),
            ('schema_backups', 'index', 'schema_backups_object_uid_key', 'UNIQUE btree (object_uid)'),
            ('schema_backups', 'index', 'schema_backups_schema_id', 'btree (schema_id, completed_at DESC)'),
            ('schema_backups', 'index', 'schema_backups_sessions_due', 'btree (completed_at) WHERE sessions_due'),
            ('schema_backups', 'index', 'schema_backups_set_aside',
             'btree (completed_at) WHERE ((method = ''SetAside'') AND (state = ''complete''))'),
            ('schema_backups', 'index', 'schema_backups_unreported',
             'btree (id) WHERE (reported_update IS DISTINCT FROM updated_at)'),
            ('schema_backups', 'index', 'schema_backups_updated_at', 'btree (updated_at)'),
            ('schema_jobs', 'column', 'id', 'uuid NOT NULL DEFAULT gen_random_uuid()'),
            ('schema_jobs', 'column', 'kind', 'text NOT NULL'),
            ('schema_jobs', 'column', 'backup_id', 'uuid'),
            ('schema_jobs', 'column', 'schema_id', 'uuid'),
            ('schema_jobs', 'column', 'state', 'text NOT NULL DEFAULT ''requested'''),
            ('schema_jobs', 'column', 'attempt', 'integer NOT NULL DEFAULT 0'),
            ('schema_jobs', 'column', 'epoch', 'bigint'),
            ('schema_jobs', 'column', 'holder', 'text'),
            ('schema_jobs', 'column', 'heartbeat_at', 'timestamp with time zone'),
            ('schema_jobs', 'column', 'sandbox', 'text'),
            ('schema_jobs', 'column', 'error', 'text'),
            ('schema_jobs', 'column', 'requested_by', 'text NOT NULL'),
            ('schema_jobs', 'column', 'requested_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('schema_jobs', 'column', 'not_before', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('schema_jobs', 'column', 'started_at', 'timestamp with time zone'),
            ('schema_jobs', 'column', 'finished_at', 'timestamp with time zone'),
            ('schema_jobs', 'column', 'failures', 'integer NOT NULL DEFAULT 0'),
            ('schema_jobs', 'column', 'reason', 'text'),
            ('schema_jobs', 'column', 'subject_kind', 'text'),
            ('schema_jobs', 'column', 'subject_id', 'uuid'),
            ('schema_jobs', 'column', 'object_kind', 'text'),
            ('schema_jobs', 'column', 'object_namespace', 'text'),
            ('schema_jobs', 'column', 'object_name', 'text'),
            ('schema_jobs', 'column', 'object_uid', 'text'),
            ('schema_jobs', 'constraint', 'schema_jobs_backup_id_fkey',
             'FOREIGN KEY (backup_id) REFERENCES schema_backups(id)'),
            ('schema_jobs', 'constraint', 'schema_jobs_kind_check', 'CHECK (jsonb_exists(_job_kinds(), kind))'),
            ('schema_jobs', 'constraint', 'schema_jobs_pkey', 'PRIMARY KEY (id)'),
            ('schema_jobs', 'constraint', 'schema_jobs_state_check',
             'CHECK ((state = ANY (ARRAY[''requested'', ''running'', ''done'', ''failed'', ''cancelled''])))'),
            ('schema_jobs', 'constraint', 'schema_jobs_subject_check',
             'CHECK ((((subject_kind IS NULL) = (subject_id IS NULL)) AND '
             '((subject_id IS NOT NULL) OR (backup_id IS NOT NULL))))'),
            ('schema_jobs', 'index', 'schema_jobs_backup_id', 'btree (backup_id, requested_at DESC)'),
            ('schema_jobs', 'index', 'schema_jobs_open_subject_key',
             'UNIQUE btree (COALESCE(subject_id, backup_id), kind) '
             'WHERE (state = ANY (ARRAY[''requested'', ''running'']))'),
            ('schema_jobs', 'index', 'schema_jobs_schema_id',
             'btree (schema_id) WHERE (state = ANY (ARRAY[''requested'', ''running'']))'),
            ('schema_jobs', 'index', 'schema_jobs_started_at', 'btree (schema_id, started_at)'),
            ('schema_jobs', 'index', 'schema_jobs_waiting',
             'btree (requested_at, id) WHERE (state = ANY (ARRAY[''requested'', ''running'']))'),
            ('lane_lock', 'column', 'singleton', 'boolean NOT NULL DEFAULT true'),
            ('lane_lock', 'constraint', 'lane_lock_pkey', 'PRIMARY KEY (singleton)'),
            ('lane_lock', 'constraint', 'lane_lock_singleton_check', 'CHECK (singleton)'),
            ('registry_locks', 'column', 'name', 'text NOT NULL'),
            ('registry_locks', 'constraint', 'registry_locks_pkey', 'PRIMARY KEY (name)'),
            ('tenant_credentials', 'column', 'schema_id', 'uuid NOT NULL'),
            ('tenant_credentials', 'column', 'purpose', 'text NOT NULL'),
            ('tenant_credentials', 'column', 'login', 'text NOT NULL'),
            ('tenant_credentials', 'column', 'credential_id', 'uuid NOT NULL'),
            ('tenant_credentials', 'column', 'issued_at', 'timestamp with time zone NOT NULL'),
            ('tenant_credentials', 'column', 'previous_login', 'text'),
            ('tenant_credentials', 'column', 'previous_until', 'timestamp with time zone'),
            ('tenant_credentials', 'column', 'previous_closed_at', 'timestamp with time zone'),
            ('tenant_credentials', 'column', 'withdrawn_at', 'timestamp with time zone'),
            ('tenant_credentials', 'column', 'connection_limit', 'integer NOT NULL'),
            ('tenant_credentials', 'column', 'statement_timeout_seconds', 'integer NOT NULL'),
            ('tenant_credentials', 'column', 'idle_in_transaction_timeout_seconds', 'integer NOT NULL'),
            ('tenant_credentials', 'constraint', 'tenant_credentials_check',
             'CHECK (((previous_until IS NULL) = (previous_login IS NULL)))'),
            ('tenant_credentials', 'constraint', 'tenant_credentials_pkey', 'PRIMARY KEY (schema_id, purpose)'),
            ('tenant_credentials', 'constraint', 'tenant_credentials_purpose_check',
             'CHECK ((purpose = ANY (ARRAY[''connection'', ''migration''])))'),
            ('tenant_credentials', 'constraint', 'tenant_credentials_schema_id_fkey',
             'FOREIGN KEY (schema_id) REFERENCES tenant_schemas(id) ON DELETE CASCADE'),
            ('tenant_credentials', 'index', 'tenant_credentials_previous_until',
             'btree (previous_until) WHERE (previous_until IS NOT NULL)'),
            ('tenant_credentials', 'trigger', 'note_opened_login',
             'AFTER INSERT OR UPDATE OF login ON tenant_credentials FOR EACH ROW '
             'EXECUTE FUNCTION _note_opened_login()'),
            ('opened_logins', 'column', 'login_oid', 'oid NOT NULL'),
            ('opened_logins', 'column', 'schema_id', 'uuid NOT NULL'),
            ('opened_logins', 'column', 'opened_at', 'timestamp with time zone NOT NULL'),
            ('opened_logins', 'column', 'known_pids', 'integer[] NOT NULL DEFAULT ''{}''::integer[]'),
            ('opened_logins', 'column', 'ended_pids', 'integer[] NOT NULL DEFAULT ''{}''::integer[]'),
            ('opened_logins', 'constraint', 'opened_logins_pkey', 'PRIMARY KEY (login_oid)'),
            ('opened_logins', 'constraint', 'opened_logins_schema_id_fkey',
             'FOREIGN KEY (schema_id) REFERENCES tenant_schemas(id) ON DELETE CASCADE'),
            ('opened_logins', 'index', 'opened_logins_opened_at', 'btree (opened_at)'),
            ('opened_logins', 'index', 'opened_logins_schema_id', 'btree (schema_id)'),
            ('tenant_adoptions', 'column', 'schema_id', 'uuid NOT NULL'),
            ('tenant_adoptions', 'column', 'schema_oid', 'oid NOT NULL'),
            ('tenant_adoptions', 'column', 'schema_name', 'text NOT NULL'),
            ('tenant_adoptions', 'column', 'owner_cluster', 'text NOT NULL'),
            ('tenant_adoptions', 'column', 'owner_namespace', 'text NOT NULL'),
            ('tenant_adoptions', 'column', 'owner_name', 'text NOT NULL'),
            ('tenant_adoptions', 'column', 'owner_uid', 'text NOT NULL'),
            ('tenant_adoptions', 'column', 'keeper', 'integer'),
            ('tenant_adoptions', 'column', 'owner_role', 'text NOT NULL'),
            ('tenant_adoptions', 'column', 'reader_role', 'text NOT NULL'),
            ('tenant_adoptions', 'column', 'writer_role', 'text NOT NULL'),
            ('tenant_adoptions', 'column', 'owner_role_oid', 'oid NOT NULL'),
            ('tenant_adoptions', 'column', 'reader_role_oid', 'oid NOT NULL'),
            ('tenant_adoptions', 'column', 'writer_role_oid', 'oid NOT NULL'),
            ('tenant_adoptions', 'column', 'former', 'jsonb NOT NULL'),
            ('tenant_adoptions', 'column', 'digest', 'text NOT NULL'),
            ('tenant_adoptions', 'column', 'moved', 'integer NOT NULL DEFAULT 0'),
            ('tenant_adoptions', 'column', 'total', 'integer NOT NULL'),
            ('tenant_adoptions', 'column', 'round', 'integer NOT NULL DEFAULT 1'),
            ('tenant_adoptions', 'column', 'at_class', 'oid NOT NULL DEFAULT 0'),
            ('tenant_adoptions', 'column', 'at_object', 'oid NOT NULL DEFAULT 0'),
            ('tenant_adoptions', 'column', 'held', 'oid[] NOT NULL DEFAULT ''{}''::oid[]'),
            ('tenant_adoptions', 'column', 'began_at', 'timestamp with time zone NOT NULL DEFAULT now()'),
            ('tenant_adoptions', 'constraint', 'tenant_adoptions_pkey', 'PRIMARY KEY (schema_id)'),
            ('tenant_adoptions', 'constraint', 'tenant_adoptions_schema_oid_key', 'UNIQUE (schema_oid)'),
            ('tenant_locks', 'column', 'schema_id', 'uuid NOT NULL'),
            ('tenant_locks', 'column', 'kind', 'text NOT NULL'),
            ('tenant_locks', 'constraint', 'tenant_locks_kind_check',
             'CHECK ((kind = ANY (ARRAY[''structure'', ''access''])))'),
            ('tenant_locks', 'constraint', 'tenant_locks_pkey', 'PRIMARY KEY (schema_id, kind)'),
            ('migration_logins', 'column', 'schema_id', 'uuid'),
            ('migration_logins', 'column', 'name', 'text'),
            ('migration_logins', 'column', 'oid', 'oid'),
            ('tenant_fingerprints', 'column', 'schema_id', 'uuid'),
            ('tenant_fingerprints', 'column', 'fingerprint', 'numeric'),
            ('schema_activity', 'column', 'schema_id', 'uuid'),
            ('schema_activity', 'column', 'namespace', 'oid'),
            ('schema_activity', 'column', 'table_count', 'integer'),
            ('schema_activity', 'column', 'relation_count', 'integer'),
            ('schema_activity', 'column', 'signature', 'numeric'),
            ('tenant_rows', 'column', 'schema_id', 'uuid'),
            ('tenant_rows', 'column', 'document', 'jsonb')
        ) AS w (relation, kind, name, definition)
        LEFT JOIN (
            SELECT c.relname::text AS relation, part.kind, part.name::text, replace(
                       replace(part.definition, '::text', ''), 'edu_matrix_hub_schema.', '') AS definition
            FROM pg_catalog.pg_namespace AS n
            JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
            CROSS JOIN LATERAL (
                SELECT 'column' AS kind, a.attname AS name,
                       format_type(a.atttypid, a.atttypmod)
                       || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
                       || CASE a.attidentity WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY' ELSE '' END
                       || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') AS definition
                FROM pg_catalog.pg_attribute AS a
                LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                UNION ALL
                SELECT 'constraint', k.conname, pg_get_constraintdef(k.oid)
                FROM pg_catalog.pg_constraint AS k
                LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = k.conindid
                WHERE k.conrelid = c.oid AND k.convalidated AND i.indisvalid IS NOT FALSE
                UNION ALL
                SELECT 'index', o.relname,
                       CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END
                       || substring(pg_get_indexdef(i.indexrelid) FROM ' USING (.*)')
                FROM pg_catalog.pg_index AS i
                JOIN pg_catalog.pg_class AS o ON o.oid = i.indexrelid
                WHERE i.indrelid = c.oid AND i.indisvalid
                UNION ALL
                SELECT 'trigger', t.tgname, substring(pg_get_triggerdef(t.oid) FROM ' ((BEFORE|AFTER) .*)')
                FROM pg_catalog.pg_trigger AS t
                WHERE t.tgrelid = c.oid AND t.tgenabled = 'O'
            ) AS part
            WHERE n.nspname = 'edu_matrix_hub_schema'
        ) AS f ON f.relation = w.relation AND f.kind = w.kind AND f.name = w.name
        WHERE f.definition IS DISTINCT FROM w.definition
    ) AS p;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem;
    END IF;

    IF NOT has_table_privilege('edu_matrix_hub_schema.registry_locks', 'SELECT') THEN
        RETURN;  -- Only the owner role and superusers can see rows.
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY['survey', 'claim_job', 'role_keepers', 'deletions']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = w.name);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table registry_locks lacks rows: %', problem;
    END IF;
    SELECT string_agg(t.id::text, ', ') INTO problem
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    WHERE (SELECT count(*) FROM edu_matrix_hub_schema.tenant_locks AS l WHERE l.schema_id = t.id) <> 2;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table tenant_locks lacks rows of tenants: %', problem;
    END IF;
END
$verify$;

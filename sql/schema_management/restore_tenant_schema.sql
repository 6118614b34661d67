-- Brings back a tenant that was set aside: the schema under its name, its roles, the grants on it, the memberships and
-- logins that were recorded, the references to others, and its row in the registry; or nothing at all.
--
-- options: {backup_id, owner?: {cluster, namespace, name, uid, namespace_uid?}, transfer?: {namespace, name}, cut_off?,
-- references?, requested_by?}. `cut_off` is how many attempts got no answer besides those in the log
-- (_remake_references); `references` = 'all' makes neither count. With an owner the tenant belongs to that TenantSchema
-- and is active or suspended as it was; if it had an owner, that must have been one of the same cluster, namespace and
-- name, or the one that is named as `transfer` (else `not_owner`). Without, a tenant that had an owner comes back
-- `released`: its TenantSchema is gone, and a new one may reclaim it; one made by hand comes back as it was. detail:
-- {schema_id, backup_id, references, lost}.
--
-- References are made again as the tenant's owner. A foreign key whose rows are gone is made NOT VALID (it holds for
-- new rows), and what cannot be made at all stays recorded in the backup; both are named in the message, since neither
-- another tenant's data nor its own code may keep a tenant from its data (_remake_references). Refused are a name or an
-- institution that another tenant has by now, a backup whose removal has begun or of which tables were dropped
-- (`tables_missing`), and a snapshot, which is data and not a tenant.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.restore_tenant_schema(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
SET client_min_messages = warning
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    requester    CONSTANT text := coalesce(options ->> 'requested_by', session_user::text);
    owner        CONSTANT jsonb := nullif(options -> 'owner', 'null');
    attempt      text := format('restore backup %s', coalesce(options ->> 'backup_id', '(none)'));
    backup       edu_matrix_hub_schema.schema_backups;
    tenant       edu_matrix_hub_schema.tenant_schemas;
    former       edu_matrix_hub_schema.tenant_schemas;
    namespace    oid;
    changed      jsonb;
    lost         text[];
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.id = (options ->> 'backup_id')::uuid;
        IF backup.id IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', 'there is no such backup');
        ELSIF backup.method <> 'SetAside' THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found',
                CASE backup.method WHEN 'Archive'
                    THEN 'it is an archive in an object store; restore what is needed from its file'
                    ELSE 'it is a snapshot, data without a tenant around it; copy from its tables what is needed' END);
        ELSIF NOT edu_matrix_hub_schema._tenant_lock(backup.schema_id, 'structure', true)
              OR NOT edu_matrix_hub_schema._tenant_lock(backup.schema_id, 'access', true) THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', 'another call or a job is at work on this tenant',
                jsonb_build_object('blocker', edu_matrix_hub_schema._at_work(backup.schema_id)));
        END IF;
        SELECT * INTO STRICT backup FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.id = backup.id;
        SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.id = backup.schema_id FOR NO KEY UPDATE;
        attempt := format('restore schema "%s" from "%s"', backup.schema_name, backup.location);
        IF backup.state = 'restored' THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('schema "%s" was restored from this backup before', backup.schema_name), backup.schema_id,
                jsonb_build_object('schema_id', backup.schema_id, 'backup_id', backup.id));
        ELSIF backup.state <> 'complete' THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', format('its removal has begun, it is %s', backup.state));
        END IF;
        IF owner IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._check_owner(
                edu_matrix_hub_schema._given(tenant, owner, options -> 'transfer'), owner);
            PERFORM edu_matrix_hub_schema._move_backups(tenant, owner);
        END IF;
        namespace := edu_matrix_hub_schema._restorable(backup, tenant);
        UPDATE edu_matrix_hub_schema.schema_jobs AS j
        SET state = 'cancelled', finished_at = clock_timestamp(), error = 'the backup was restored'
        WHERE j.backup_id = backup.id AND j.kind = 'purge' AND j.state IN ('requested', 'running');

        UPDATE edu_matrix_hub_schema.tenant_schemas AS t
        SET status = CASE WHEN owner IS NULL AND t.owner_uid IS NOT NULL THEN 'released'
                          WHEN t.access = 'Suspended' THEN 'suspended' ELSE 'active' END,
            owner_cluster = coalesce(owner ->> 'cluster', t.owner_cluster),
            owner_namespace = coalesce(owner ->> 'namespace', t.owner_namespace),
            owner_name = coalesce(owner ->> 'name', t.owner_name), owner_uid = coalesce(owner ->> 'uid', t.owner_uid),
            owner_namespace_uid = coalesce(owner ->> 'namespace_uid', t.owner_namespace_uid), schema_oid = namespace,
            taken_over = false, dropped_at = NULL, reported = NULL, fingerprint = NULL, usage_stale = true,
            size_estimate = NULL, write_signature = -1, updated_at = now()
        WHERE t.id = tenant.id;
        PERFORM edu_matrix_hub_schema._create_tenant_roles(tenant.id);
        former := tenant;
        SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = backup.schema_id;
        PERFORM edu_matrix_hub_schema._grant_tenant_owner(tenant.id);
        EXECUTE format('ALTER SCHEMA %I OWNER TO %I', backup.location, tenant.owner_role);
        EXECUTE format('ALTER SCHEMA %I RENAME TO %I', backup.location, tenant.schema_name);
        PERFORM edu_matrix_hub_schema._revoke_tenant_owner(tenant.id);
        lost := edu_matrix_hub_schema._join_members(backup, tenant);
        IF tenant.access <> 'Suspended' THEN
            PERFORM edu_matrix_hub_schema._let_grantees_in(tenant);
        END IF;
        IF owner IS NOT NULL AND edu_matrix_hub_schema._leaves_namespace(former, owner) THEN
            PERFORM edu_matrix_hub_schema._withdraw(tenant);
        END IF;
        -- Grantees make again what ended with it, each for itself. What needed more than one of its givers is tried
        -- again with each that comes back.
        UPDATE edu_matrix_hub_schema.taken_dependents AS d SET note = NULL
        WHERE d.schema_id = ANY (tenant.granted_to) AND d.note IS NOT NULL AND d.remake <> '{}';
        changed := edu_matrix_hub_schema._remake_references(backup, coalesce((options ->> 'cut_off')::bigint, 0),
                                                             coalesce(options ->> 'references' = 'all', false));
        UPDATE edu_matrix_hub_schema.schema_backups AS b
        SET state = 'restored', expires_at = NULL, updated_at = clock_timestamp(),
            manifest = b.manifest || jsonb_build_object('not_remade', changed)
        WHERE b.id = backup.id;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('restore', backup.schema_id, requester, started, attempt,
                                                  SQLSTATE, SQLERRM, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'restore', 'success', requester, started, attempt,
                                       jsonb_build_object('backup_id', backup.id, 'references', changed, 'lost', lost));
    RETURN edu_matrix_hub_schema._result('success',
        format('schema "%s" is restored', tenant.schema_name)
        || coalesce('; ' || (SELECT string_agg(format('%s %s %s', r.value ->> 'kind', r.value ->> 'name',
                                                      r.value ->> 'note'), '; ')
                             FROM jsonb_array_elements(changed) AS r (value)), '')
        || CASE WHEN changed <> '[]' THEN
                    format('; a login that may do no more than role "%s" can run, in this order, what is told by: '
                           'SELECT r ->> ''remake'' FROM edu_matrix_hub_schema.schema_backups AS b, '
                           'jsonb_array_elements(b.manifest -> ''not_remade'') AS r WHERE b.id = %L',
                           tenant.owner_role, backup.id) ELSE '' END
        || CASE WHEN lost <> '{}' THEN '; roles that are gone got nothing back: ' || array_to_string(lost, ', ')
                ELSE '' END,
        tenant.id, jsonb_build_object('schema_id', tenant.id, 'backup_id', backup.id, 'references', changed,
                                      'lost', to_jsonb(lost)));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.restore_tenant_schema(jsonb) FROM PUBLIC;

-- Refuses when what was set aside cannot come back under its name, or is not what was set aside; returns the schema.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._restorable(
    backup edu_matrix_hub_schema.schema_backups, tenant edu_matrix_hub_schema.tenant_schemas
) RETURNS oid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    namespace oid;
    owner     text;
    holder    edu_matrix_hub_schema.tenant_schemas;
BEGIN
    namespace := edu_matrix_hub_schema._require_location(backup);
    SELECT pg_get_userbyid(n.nspowner)::text INTO owner FROM pg_namespace AS n WHERE n.oid = namespace;
    IF namespace IS NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('schema_missing',
                                              format('schema "%s" is missing in the database', backup.location));
    ELSIF tenant.id IS NULL OR tenant.status <> 'dropped' THEN
        PERFORM edu_matrix_hub_schema._refuse('name_taken', 'the tenant it was made of lives');
    ELSIF owner NOT IN (current_user, tenant.owner_role) THEN
        PERFORM edu_matrix_hub_schema._refuse('not_owner',
            format('schema "%s" belongs to role "%s" and not to "%s"', backup.location, owner, current_user));
    END IF;
    SELECT * INTO holder FROM edu_matrix_hub_schema.tenant_schemas AS t
    WHERE t.status <> 'dropped' AND (t.schema_name = backup.schema_name OR t.institution_id = tenant.institution_id)
    ORDER BY t.schema_name = backup.schema_name DESC LIMIT 1;
    IF holder.schema_name = backup.schema_name THEN
        PERFORM edu_matrix_hub_schema._refuse('name_taken', 'another tenant has this name by now; drop that one first',
                                              jsonb_build_object('holder', edu_matrix_hub_schema._claim(holder)));
    ELSIF holder.id IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('institution_taken', format(
            'institution %s has schema "%s" by now; drop that one first', tenant.institution_id, holder.schema_name),
                                              jsonb_build_object('holder', edu_matrix_hub_schema._claim(holder)));
    ELSIF EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = backup.schema_name) THEN
        PERFORM edu_matrix_hub_schema._refuse('name_taken',
                                              'a schema of this name stands that is no tenant of ours; rename it');
    ELSIF EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = backup.schema_name) THEN
        PERFORM edu_matrix_hub_schema._refuse('name_taken',
            'a role has this name, and the schema would come first in its default search_path; rename the role');
    END IF;
    PERFORM edu_matrix_hub_schema._refuse_missing_tables(backup, namespace);
    RETURN namespace;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._restorable(edu_matrix_hub_schema.schema_backups,
                                                         edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Gives back grants, logins and memberships as they were recorded, with the options that they had; returns the roles
-- that do not exist any more. A role that only has the name of one that was recorded is another one, and gets nothing.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._join_members(
    backup edu_matrix_hub_schema.schema_backups, tenant edu_matrix_hub_schema.tenant_schemas
) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    recorded CONSTANT jsonb := coalesce(backup.manifest -> 'roles', '{}');
    replaced CONSTANT text[] := ARRAY(SELECT r.key FROM jsonb_each_text(recorded) AS r
                                      JOIN pg_roles AS s ON s.rolname = r.key WHERE s.oid::bigint <> r.value::bigint);
    part     record;
    lost     text[];
BEGIN
    tenant.saved_acl := edu_matrix_hub_schema._grants_without(backup.manifest -> 'grants', replaced);
    tenant.closed_logins := ARRAY(SELECT jsonb_array_elements_text(backup.manifest -> 'logins_closed'));
    lost := edu_matrix_hub_schema._give_back_access(tenant) || ARRAY(
        SELECT DISTINCT g.value ->> 'grantee' FROM jsonb_array_elements(backup.manifest -> 'grants') AS g (value)
        WHERE g.value ->> 'grantee' = ANY (replaced));
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET closed_logins = ARRAY(SELECT jsonb_array_elements_text(backup.manifest -> 'closed_logins')),
        saved_acl = edu_matrix_hub_schema._grants_without(nullif(backup.manifest -> 'saved_acl', 'null'), replaced)
    WHERE t.id = tenant.id;
    FOR part IN
        SELECT m.role, m.action, m.stands, array_agg(m.name ORDER BY m.n) AS names
        FROM (SELECT e.value ->> 'role' AS role, e.value ->> 'member' AS name,
                     r.rolname IS NOT NULL AND r.rolname <> ALL (replaced) AS stands, e.n,
                     concat_ws(' ', 'join', CASE WHEN (e.value ->> 'admin')::boolean THEN 'admin' END,
                               CASE WHEN (e.value ->> 'inherit')::boolean THEN 'inherit' END,
                               CASE WHEN (e.value ->> 'set')::boolean THEN 'set' END) AS action
              FROM jsonb_array_elements(backup.manifest -> 'members') WITH ORDINALITY AS e (value, n)
              LEFT JOIN pg_roles AS r ON r.rolname = e.value ->> 'member'
              WHERE NOT (e.value ->> 'left')::boolean) AS m
        GROUP BY m.role, m.action, m.stands, (m.n - 1) / 500
    LOOP
        IF part.stands THEN
            PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, part.action, part.names, part.role);
        ELSE
            lost := lost || part.names;
        END IF;
    END LOOP;
    lost := ARRAY(SELECT DISTINCT l.name FROM unnest(lost) AS l (name) ORDER BY l.name);
    RETURN lost;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._join_members(edu_matrix_hub_schema.schema_backups,
                                                           edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Grants as saved_acl keeps them, without those of some roles; null stays null.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._grants_without(grants jsonb, names text[]) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT CASE WHEN grants IS NOT NULL THEN (
        SELECT coalesce(jsonb_agg(g.value ORDER BY g.n), '[]')
        FROM jsonb_array_elements(grants) WITH ORDINALITY AS g (value, n)
        WHERE g.value ->> 'grantee' IS NULL OR g.value ->> 'grantee' <> ALL (names)) END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._grants_without(jsonb, text[]) FROM PUBLIC;

-- Does the next part of removing a backup and answers `partial`, or `success` when nothing is left of it. Interrupted
-- anywhere and called again it goes on where it was. The catalogue row stays, without its manifest, and keeps what is
-- known of it.
--
-- What is removed is the schema whose identifier the catalogue has, if it still belongs to the role that it belonged to
-- when it was made, then the large objects of the former tenant's roles, and never anything else outside of it: it is
-- not begun while something outside depends on the schema, and stops at a part that something depends on by then. Roles
-- go last; one that owns or holds something elsewhere stays, is named, and is removed by a later call when that is
-- settled.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._purge(backup_id uuid, requested_by text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
SET client_min_messages = error
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    attempt       text := format('remove backup %s', coalesce(backup_id::text, '(none)'));
    backup        edu_matrix_hub_schema.schema_backups;
    tenant        edu_matrix_hub_schema.tenant_schemas;
    namespace     oid;
    owner         text;
    part          text;
    remaining     integer;
    error_message text;
    error_detail  text;
    error_state   text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        -- One call at a time removes it; another waits for its row, no longer than the lock_timeout above.
        SELECT * INTO backup FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE b.id = _purge.backup_id FOR NO KEY UPDATE;
        IF backup.id IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', 'there is no such backup');
        ELSIF backup.method = 'Archive' THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found',
                format('it is an archive in an object store, which only the operator reaches; to have it removed, '
                       'delete its SchemaBackup, or run as the operator''s login: '
                       'SELECT edu_matrix_hub_schema.request_purge(%L)',
                       jsonb_build_object('backup_id', backup.id)));
        ELSIF backup.method = 'SetAside'
              AND NOT edu_matrix_hub_schema._tenant_lock(backup.schema_id, 'structure', true) THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', 'it is just being restored');
        END IF;
        -- Read again, now that no call can restore it any more.
        SELECT * INTO STRICT backup FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.id = _purge.backup_id;
        IF backup.state IN ('requested', 'running') THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', 'it is just being made; cancel it first');
        ELSIF backup.state NOT IN ('complete', 'purging') THEN
            RETURN edu_matrix_hub_schema._result('unchanged',
                format('backup %s is %s, it holds nothing', backup.id, backup.state), backup.schema_id,
                jsonb_build_object('backup_id', backup.id));
        END IF;
        attempt := format('remove backup "%s"', backup.location);
        SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = backup.schema_id;
        namespace := edu_matrix_hub_schema._require_location(backup);
        SELECT pg_get_userbyid(n.nspowner)::text INTO owner FROM pg_namespace AS n WHERE n.oid = namespace;
        IF EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.schema_name = backup.location
                     AND t.status <> 'dropped')
           OR (namespace IS NOT NULL AND owner <> current_user
               AND (backup.method = 'Snapshot' OR owner <> tenant.owner_role)) THEN
            PERFORM edu_matrix_hub_schema._refuse('not_owner',
                format('schema "%s" belongs to role "%s" now and is not what was backed up; rename it, and call again',
                       backup.location, owner));
        END IF;
        IF backup.method = 'SetAside' AND tenant.status = 'dropped' AND backup.state <> 'purging' THEN
            remaining := edu_matrix_hub_schema._take_late_dependents(tenant, namespace, backup.id, requested_by);
            IF remaining > 0 THEN
                PERFORM edu_matrix_hub_schema._log(backup.schema_id, 'purge', 'partial', requested_by, started, attempt,
                                                   jsonb_build_object('backup_id', backup.id));
                RETURN edu_matrix_hub_schema._result('partial',
                    format('of backup "%s": %s views and functions of those that have a grant of it are still there; '
                           'commit, and call again', backup.location, remaining), backup.schema_id,
                    jsonb_build_object('backup_id', backup.id));
            END IF;
            PERFORM edu_matrix_hub_schema._gone_for_good(tenant.id);
        END IF;
        UPDATE edu_matrix_hub_schema.schema_backups AS b SET state = 'purging', updated_at = clock_timestamp()
        WHERE b.id = backup.id AND b.state <> 'purging';
        IF namespace IS NOT NULL THEN
            IF backup.method = 'SetAside' THEN
                PERFORM edu_matrix_hub_schema._grant_tenant_owner(tenant.id);
            END IF;
            part := edu_matrix_hub_schema._purge_part(namespace, backup.state = 'purging');
            IF backup.method = 'SetAside' THEN
                PERFORM edu_matrix_hub_schema._revoke_tenant_owner(tenant.id);
            END IF;
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('purge', backup.schema_id, requested_by, started, attempt, SQLSTATE,
                                                  error_message, error_detail);
    END;

    -- The schema is gone, also if its roles stay.
    BEGIN
        IF part IS NULL AND backup.method = 'SetAside' AND tenant.status = 'dropped' THEN
            part := edu_matrix_hub_schema._unlink_large_objects(tenant);
            IF part IS NULL THEN
                PERFORM edu_matrix_hub_schema._drop_tenant_roles(tenant.id);
            END IF;
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            error_state := SQLSTATE;
            IF error_state = '2BP01' THEN
                -- Rights on objects of other roles, which DROP OWNED by us cannot take away.
                error_state := 'TS001';
                SELECT format('they hold rights that others gave them (%s); run as a superuser: DROP OWNED BY %s',
                              string_agg(DISTINCT held.what, ', '),
                              string_agg(DISTINCT quote_ident(held.role), ', ')), '{"reason": "dependents"}'
                INTO error_message, error_detail
                FROM (SELECT r.rolname::text AS role, pg_describe_object(s.classid, s.objid, s.objsubid) AS what
                      FROM pg_shdepend AS s
                      JOIN pg_roles AS r ON s.refclassid = 'pg_authid'::regclass AND r.oid = s.refobjid
                      WHERE s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
                        AND s.deptype <> 'o'
                        AND s.classid <> 'pg_default_acl'::regclass
                        AND r.rolname = ANY (edu_matrix_hub_schema._own_roles(tenant))
                      LIMIT 50) AS held;
            END IF;
    END;
    IF error_state IS NOT NULL THEN
        RETURN edu_matrix_hub_schema._failure('purge', backup.schema_id, requested_by, started,
                                              format('remove the roles of backup "%s"', backup.location),
                                              error_state, error_message, error_detail);
    END IF;
    IF part IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._log(backup.schema_id, 'purge', 'partial', requested_by, started, attempt,
                                           jsonb_build_object('backup_id', backup.id, 'part', part));
        RETURN edu_matrix_hub_schema._result('partial', format('of backup "%s": %s; commit, and call again',
                                                               backup.location, part), backup.schema_id,
                                             jsonb_build_object('backup_id', backup.id));
    END IF;
    UPDATE edu_matrix_hub_schema.schema_backups AS b
    SET state = 'purged', manifest = '{}', purged_at = clock_timestamp(), error = NULL, updated_at = clock_timestamp()
    WHERE b.id = backup.id;
    PERFORM edu_matrix_hub_schema._log(backup.schema_id, 'purge', 'success', requested_by, started, attempt,
                                       jsonb_build_object('backup_id', backup.id));
    RETURN edu_matrix_hub_schema._result('success', format('backup "%s" is removed', backup.location), backup.schema_id,
                                         jsonb_build_object('backup_id', backup.id));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._purge(uuid, text) FROM PUBLIC;

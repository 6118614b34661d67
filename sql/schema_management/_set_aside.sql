-- Sets a tenant's schema aside, whole and exact: renames it, takes every grant on it that is not the owner's, and
-- records in the manifest what a restore needs. No table is touched, so thousands of them cost no more than one; a
-- write that still commits lands in what is set aside. Returns {backup_id?, location?, size_bytes?, table_count?,
-- ended, members_left, references_left}.
--
-- References of the schema to others are recorded and taken away, so that what is set aside blocks no living tenant;
-- one that cannot be taken away is left and named, for it must not decide whether a tenant can be dropped. References
-- of others to it there are none, or it is refused; but for views and functions of tenants that have a grant of it,
-- which end with it (_take_dependents). The tenant's roles stay, without login and without foreign members,
-- until the backup is purged; the schema itself becomes ours, so that no user who kept one of them can come into it.
-- A schema that is gone leaves nothing to set aside: the tenant just ends, and so do its roles. One that only has
-- another name, or may be there without being known, does not end its tenant.
--
-- Memberships and logins of roles that another database of the server uses are left alone.
--
-- The tables go on belonging to the owner role, for giving away thousands of them takes a lock on each. So sessions
-- that may have become that role are ended, what can act as it all the same is named (`acting`), and the manifest lists
-- the tables, which a restore asks for.
--
-- The caller holds both locks of the tenant and runs this in a sub-block.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._set_aside(tenant edu_matrix_hub_schema.tenant_schemas,
                                                            expire_after_days integer, requested_by text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
SET client_min_messages = warning
AS $function$
DECLARE
    backup     CONSTANT uuid := gen_random_uuid();
    namespace  oid;
    location   text;
    holder     oid;
    absence    jsonb;
    refs       jsonb;
    refs_left  jsonb;
    grants     jsonb;
    sessions   jsonb;
    members    jsonb;
    measured   record;
    manifest   jsonb;
    roles_note text;
    pids       integer[];
    acting     jsonb;
    ending     record;
    dependents jsonb;
BEGIN
    PERFORM edu_matrix_hub_schema._cancel_jobs(tenant.id, NULL, true);
    SELECT n.oid, n.nspowner INTO namespace, holder FROM pg_namespace AS n
    WHERE n.oid = tenant.schema_oid AND n.nspname = tenant.schema_name;
    IF namespace IS NULL THEN
        absence := edu_matrix_hub_schema._schema_absence(tenant);
        IF absence ->> 'kind' NOT IN ('dropped', 'replaced') THEN
            PERFORM edu_matrix_hub_schema._refuse('schema_missing', absence ->> 'text',
                                                  jsonb_build_object('absence', absence));
        END IF;
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t
        SET status = 'dropped', dropped_at = now(), updated_at = now(), table_count = 0, storage_used = 0, drift = '[]',
            large_objects = NULL, growth = NULL
        WHERE t.id = tenant.id;
        PERFORM edu_matrix_hub_schema._gone_for_good(tenant.id);
        PERFORM edu_matrix_hub_schema._close_tenant_logins(tenant.id);
        BEGIN
            PERFORM edu_matrix_hub_schema._drop_tenant_roles(tenant.id);
        EXCEPTION WHEN SQLSTATE 'TS001' THEN
            GET STACKED DIAGNOSTICS roles_note = MESSAGE_TEXT;
        END;
        RETURN jsonb_build_object('schema_missing', true, 'roles_left', roles_note);
    END IF;
    PERFORM edu_matrix_hub_schema._require_roles(tenant);
    IF holder <> tenant.owner_role_oid THEN
        PERFORM edu_matrix_hub_schema._refuse('not_repairable',
            format('it belongs to role "%s" and not to "%s", so it cannot be renamed; run as a superuser: '
                   'ALTER SCHEMA %I OWNER TO %I',
                   pg_get_userbyid(holder), tenant.owner_role, tenant.schema_name, tenant.owner_role));
    END IF;
    SELECT e.keys, e.others INTO ending FROM edu_matrix_hub_schema._ending(tenant.id, namespace, NULL) AS e;
    PERFORM edu_matrix_hub_schema._refuse_listed('remove them, or let the tenant stay (deletionPolicy: Retain)',
                                                 ending.others);
    -- First, so that no session of the tenant's own can hold up what follows.
    sessions := edu_matrix_hub_schema._close_tenant_logins(tenant.id);
    SELECT coalesce(jsonb_agg(jsonb_strip_nulls(to_jsonb(r))), '[]') INTO refs
    FROM edu_matrix_hub_schema._outside_references(namespace,
        NOT edu_matrix_hub_schema._waited_long(tenant.id, 'set_aside'),
        -- A call that did not come to an end for ten minutes leaves out the texts, which may be what took so long.
        NOT edu_matrix_hub_schema._waited_long(tenant.id, 'set_aside', '57014')) AS r;

    -- Pages are counted where a table was vacuumed or analysed; the survey measured the rest.
    SELECT greatest(coalesce(sum(c.relpages + coalesce(toast.relpages, 0) + coalesce(toast_index.relpages, 0)),
                             0)::bigint * current_setting('block_size')::bigint,
                    tenant.storage_used)
           + coalesce((tenant.large_objects ->> 'bytes')::bigint, 0) AS bytes,
           count(*) FILTER (WHERE c.relkind = 'r')::integer AS tables
    INTO measured
    FROM (SELECT d.objid AS oid FROM pg_depend AS d
          WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace AND d.classid = 'pg_class'::regclass
          UNION ALL
          SELECT i.indexrelid FROM pg_depend AS d JOIN pg_index AS i ON i.indrelid = d.objid
          WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace
            AND d.classid = 'pg_class'::regclass) AS m
    JOIN pg_class AS c ON c.oid = m.oid
    LEFT JOIN pg_class AS toast ON toast.oid = c.reltoastrelid AND c.reltoastrelid <> 0
    LEFT JOIN pg_index AS i ON i.indrelid = toast.oid
    LEFT JOIN pg_class AS toast_index ON toast_index.oid = i.indexrelid;

    pids := edu_matrix_hub_schema._owner_sessions(tenant);
    members := edu_matrix_hub_schema._leave_members(tenant, sessions -> 'shared_with' = '[]');
    grants := edu_matrix_hub_schema._recorded_grants(tenant.id, namespace);
    PERFORM edu_matrix_hub_schema._take_schema_grants(tenant);
    location := edu_matrix_hub_schema._backup_location(tenant.schema_name, clock_timestamp());
    PERFORM edu_matrix_hub_schema._grant_tenant_owner(tenant.id);
    SELECT * INTO refs, refs_left FROM edu_matrix_hub_schema._take_references(tenant.id, refs);
    refs_left := refs_left || edu_matrix_hub_schema._staying_references(namespace);
    -- After these: what in the schema depends on a view of a grantee's is empty by now.
    dependents := edu_matrix_hub_schema._take_dependents(tenant, namespace, backup, ending.keys, requested_by);
    manifest := jsonb_build_object(
        'format', 1, 'method', 'SetAside', 'schema', tenant.schema_name, 'schema_id', tenant.id,
        'set_aside_at', clock_timestamp(), 'server_version_num', current_setting('server_version_num')::integer,
        'status', tenant.status, 'access', tenant.access, 'grants', grants, 'saved_acl', tenant.saved_acl,
        'logins_closed', sessions -> 'closed', 'closed_logins', to_jsonb(tenant.closed_logins),
        'members', members, 'references', refs, 'references_left', refs_left, 'dependents', dependents,
        'roles', edu_matrix_hub_schema._role_numbers(tenant, members, grants),
        'publications', edu_matrix_hub_schema._publications(namespace),
        'tables', edu_matrix_hub_schema._tables_of(namespace));
    EXECUTE format('ALTER SCHEMA %I RENAME TO %I', tenant.schema_name, location);
    -- From 16 on a membership in the owner role that another role gave stays; the schema must not stay with it.
    EXECUTE format('ALTER SCHEMA %I OWNER TO %I', location, current_user);
    PERFORM edu_matrix_hub_schema._revoke_tenant_owner(tenant.id);

    INSERT INTO edu_matrix_hub_schema.schema_backups
        (id, schema_id, institution_id, schema_name, method, state, location, location_oid, manifest, size_bytes,
         table_count, expire_after_days, expires_at, requested_by, started_at, completed_at, sessions_due)
    VALUES (backup, tenant.id, tenant.institution_id, tenant.schema_name, 'SetAside', 'complete', location, namespace,
            manifest, measured.bytes, measured.tables, expire_after_days,
            clock_timestamp() + make_interval(days => expire_after_days), requested_by,
            clock_timestamp(), clock_timestamp(), true);
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET status = 'dropped', dropped_at = now(), updated_at = now(), fingerprint = NULL, drift = '[]',
        large_objects = NULL, growth = NULL
    WHERE t.id = tenant.id;
    -- Last, so that a login that comes in again at once is most likely no member any more; _end_late_sessions finds one
    -- that still is.
    acting := edu_matrix_hub_schema._end_owner_sessions(tenant, namespace, pids, members);
    RETURN jsonb_build_object('backup_id', backup, 'location', location,
                              'size_bytes', measured.bytes, 'table_count', measured.tables,
                              'ended', sessions -> 'ended', 'not_ended', sessions -> 'not_ended',
                              'shared_with', sessions -> 'shared_with', 'references_left', refs_left, 'acting', acting,
                              'dependents', dependents,
                              'members_left', (SELECT coalesce(jsonb_agg(m.value), '[]')
                                               FROM jsonb_array_elements(members) AS m (value)
                                               WHERE (m.value ->> 'left')::boolean));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._set_aside(edu_matrix_hub_schema.tenant_schemas, integer, text)
    FROM PUBLIC;

-- Ends the memberships of foreign roles in the tenant's roles, and returns all of them: [{role, member, admin, inherit,
-- set, left}...]. From PostgreSQL 16 on a membership that another role granted is not ours to end; it is marked as
-- `left`. So are all when the roles are not ours alone.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._leave_members(edu_matrix_hub_schema.tenant_schemas);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._leave_members(tenant edu_matrix_hub_schema.tenant_schemas,
                                                                ours_alone boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    own     CONSTANT text[] := edu_matrix_hub_schema._own_roles(tenant);
    members jsonb;
    part    record;
    name    text;
BEGIN
    SELECT coalesce(jsonb_agg(to_jsonb(f) ORDER BY f.role, f.member), '[]') INTO members
    FROM (SELECT role.rolname::text AS role, member.rolname::text AS member, bool_or(m.admin_option) AS admin,
                 -- These two columns exist from 16 on.
                 coalesce(bool_or((to_jsonb(m) ->> 'inherit_option')::boolean), true) AS inherit,
                 coalesce(bool_or((to_jsonb(m) ->> 'set_option')::boolean), true) AS set
          FROM pg_auth_members AS m
          JOIN pg_roles AS role ON role.oid = m.roleid
          JOIN pg_roles AS member ON member.oid = m.member
          LEFT JOIN edu_matrix_hub_schema.role_keepers AS k ON k.role_oid = member.oid
          WHERE role.rolname = ANY (own) AND member.rolname <> ALL (own) AND k.n IS NULL
            AND member.rolname <> current_user
          GROUP BY role.rolname, member.rolname) AS f;
    IF ours_alone THEN
        FOR part IN
            SELECT m.role, array_agg(m.member) AS names
            FROM (SELECT e.value ->> 'role' AS role, e.value ->> 'member' AS member,
                         row_number() OVER (PARTITION BY e.value ->> 'role' ORDER BY e.n) AS n
                  FROM jsonb_array_elements(members) WITH ORDINALITY AS e (value, n)) AS m
            GROUP BY m.role, (m.n - 1) / 500
        LOOP
            BEGIN
                PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'leave', part.names, part.role);
                CONTINUE;
            EXCEPTION WHEN insufficient_privilege OR dependent_objects_still_exist OR invalid_grant_operation THEN
                NULL;
            END;
            -- One of these is not ours to end, and kept the others.
            FOREACH name IN ARRAY part.names LOOP
                BEGIN
                    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'leave', ARRAY[name], part.role);
                EXCEPTION WHEN insufficient_privilege OR dependent_objects_still_exist OR invalid_grant_operation THEN
                    NULL;
                END;
            END LOOP;
        END LOOP;
    END IF;
    RETURN (SELECT coalesce(jsonb_agg(e.value || jsonb_build_object('left', s.member IS NOT NULL) ORDER BY e.n), '[]')
            FROM jsonb_array_elements(members) WITH ORDINALITY AS e (value, n)
            LEFT JOIN (SELECT DISTINCT role.rolname::text AS role, member.rolname::text AS member
                       FROM pg_auth_members AS m
                       JOIN pg_roles AS role ON role.oid = m.roleid
                       JOIN pg_roles AS member ON member.oid = m.member
                       WHERE role.rolname = ANY (own)) AS s ON s.role = e.value ->> 'role'
                         AND s.member = e.value ->> 'member');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._leave_members(edu_matrix_hub_schema.tenant_schemas, boolean) FROM PUBLIC;

-- The publications that a schema or its tables are in: [{publication, table} or {publication, schema: true}...].
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._publications(namespace oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(jsonb_agg(p.facts ORDER BY p.facts), '[]')
    FROM (SELECT jsonb_build_object('publication', b.pubname, 'table', c.relname) AS facts
          FROM pg_publication_rel AS r
          JOIN pg_publication AS b ON b.oid = r.prpubid
          JOIN pg_class AS c ON c.oid = r.prrelid
          WHERE c.relnamespace = namespace
          UNION ALL
          SELECT jsonb_build_object('publication', b.pubname, 'schema', true)
          FROM pg_publication_namespace AS r
          JOIN pg_publication AS b ON b.oid = r.pnpubid
          WHERE r.pnnspid = namespace) AS p
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._publications(oid) FROM PUBLIC;

-- Takes away what reaches outside, as a member of the tenant's owner role: `taken` is what was (for the restore),
-- `remaining` is what was not: [{kind, name, note}...], the first fifty.
--
-- The tenant chooses whose view it is, how it was made and which session locks it. So what fails is left, with the
-- reason. Only what may pass, such as a lock that another session holds, makes the whole call wait at first; a caller
-- that was told so ten minutes ago is not told so again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._take_references(tenant_id uuid, refs jsonb,
                                                                  OUT taken jsonb, OUT remaining jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    reference record;
    note      text;
    untaken   bigint[] := '{}'::bigint[];
BEGIN
    remaining := '[]';
    FOR reference IN SELECT r.n, r.value ->> 'take_away' AS take_away, r.value ->> 'kind' AS kind,
                            r.value ->> 'name' AS name,
                            coalesce(r.value ->> 'note', 'it is too long, or one of too many') AS note
                     FROM jsonb_array_elements(refs) WITH ORDINALITY AS r (value, n) LOOP
        note := NULL;
        IF reference.take_away IS NULL THEN
            note := reference.note;
        ELSE
            BEGIN
                EXECUTE reference.take_away;
            EXCEPTION
                WHEN serialization_failure OR deadlock_detected THEN RAISE;
                WHEN OTHERS THEN
                    IF edu_matrix_hub_schema._may_pass(SQLSTATE, SQLERRM) THEN
                        IF NOT edu_matrix_hub_schema._waited_long(tenant_id, 'set_aside') THEN
                            RAISE;
                        END IF;
                        PERFORM set_config('lock_timeout', '20ms', true);
                    END IF;
                    note := SQLERRM;
            END;
        END IF;
        CONTINUE WHEN note IS NULL;
        untaken := untaken || reference.n;
        IF cardinality(untaken) <= 50 THEN
            remaining := remaining || jsonb_build_object('kind', reference.kind, 'name', reference.name,
                                                         'note', left(note, 200));
        END IF;
    END LOOP;
    SELECT coalesce(jsonb_agg(r.value ORDER BY r.n), '[]') INTO taken
    FROM jsonb_array_elements(refs) WITH ORDINALITY AS r (value, n)
    WHERE NOT EXISTS (SELECT FROM unnest(untaken) AS u (n) WHERE u.n = r.n);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._take_references(uuid, jsonb) FROM PUBLIC;

-- The object identifiers of the foreign roles that members and grants name: {name: oid}. A name may be another role's
-- by the time of a restore.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._role_numbers(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               members jsonb, grants jsonb) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(jsonb_object_agg(r.rolname, r.oid::bigint), '{}')
    FROM pg_roles AS r
    -- As an array, so that few names are looked up and not every role of the server is read.
    WHERE r.rolname = ANY (ARRAY(
        SELECT m.value ->> 'member' FROM jsonb_array_elements(members) AS m (value)
        UNION SELECT g.value ->> 'grantee' FROM jsonb_array_elements(grants) AS g (value)
        UNION SELECT g.value ->> 'grantee' FROM jsonb_array_elements(
            CASE jsonb_typeof(tenant.saved_acl) WHEN 'array' THEN tenant.saved_acl ELSE '[]' END) AS g (value)))
      AND r.rolname <> ALL (edu_matrix_hub_schema._own_roles(tenant))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._role_numbers(edu_matrix_hub_schema.tenant_schemas, jsonb, jsonb)
    FROM PUBLIC;

-- Whether a call of this type has told for ten minutes that it waits for something: then it does not wait any longer. A
-- row that repeats itself keeps the time of the first; see _log. With `state` only rows with this SQLSTATE count.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._waited_long(uuid, text);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._waited_long(tenant_id uuid, type text, state text DEFAULT NULL)
RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_operations AS o
                   WHERE o.schema_id = tenant_id AND o.type = $2
                     AND (o.status = 'busy' OR o.metadata @> '{"retry": true}')
                     AND ($3 IS NULL OR o.sqlstate = $3)
                     AND o.started_at < now() - interval '10 minutes' AND o.completed_at > now() - interval '1 day')
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._waited_long(uuid, text, text) FROM PUBLIC;

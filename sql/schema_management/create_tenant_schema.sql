-- Creates a tenant: roles, schema, grants, default privileges and the registry row, or nothing at all.
--
-- options: {schema_name, institution_id?, owner?: {cluster, namespace, name, uid, namespace_uid?},
-- register_institution?, institution_source?, config?, quota_limit?, access?, beside?, requested_by?}. Without an
-- owner it is made by hand.
--
-- The same call again answers `unchanged`. It refuses when name or institution is taken (`name_taken`,
-- `institution_taken`, with the holder in detail.holder), when a schema of that name or institution is set aside
-- (`set_aside`), unless its backup is the one that is named as `beside`, when a schema or a role of that name stands
-- already, when the institution is unknown, and with `schema_missing` when this tenant was created before and its
-- schema was removed by hand: it is not made again, empty, unless recreate_tenant_schema is asked to.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.create_tenant_schema(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started       timestamptz;
    tenant        edu_matrix_hub_schema.tenant_schemas;
    is_clear      boolean;
    left_aside    jsonb;
    error_message text;
    error_detail  text;
    error_state   text;
BEGIN
    -- Every schema that is created makes every session plan its statements again, so there are few here, and plain
    -- ones; the unique indexes of the registry say whether name, institution and TenantSchema are free.
    BEGIN
        SELECT clock_timestamp(), w.id, w.schema_name, w.institution_id, w.owner_cluster, w.owner_namespace,
               w.owner_name, w.owner_uid, w.owner_namespace_uid, w.access,
               CASE w.access WHEN 'Suspended' THEN 'suspended' ELSE 'active' END, w.config, w.quota_limit,
               -- 43 bytes of the schema's name, and 12 digits of the id: never more than 63 bytes, and no two equal.
               w.stem || '_owner', w.stem || '_reader', w.stem || '_writer',
               edu_matrix_hub_schema._schema_name_problem(w.schema_name) IS NULL
               AND num_nulls(w.owner_cluster, w.owner_namespace, w.owner_name, w.owner_uid) IN (0, 4)
               AND to_regnamespace(quote_ident(w.schema_name)) IS NULL
               AND to_regrole(quote_ident(w.schema_name)) IS NULL
               AND edu_matrix_hub_schema._isolation_problem() IS NULL
        INTO started, tenant.id, tenant.schema_name, tenant.institution_id, tenant.owner_cluster,
             tenant.owner_namespace, tenant.owner_name, tenant.owner_uid, tenant.owner_namespace_uid, tenant.access,
             tenant.status, tenant.config, tenant.quota_limit, tenant.owner_role, tenant.reader_role,
             tenant.writer_role, is_clear
        FROM (SELECT new.id, options ->> 'schema_name' AS schema_name,
                     (options ->> 'institution_id')::uuid AS institution_id,
                     options #>> '{owner,cluster}' AS owner_cluster, options #>> '{owner,namespace}' AS owner_namespace,
                     options #>> '{owner,name}' AS owner_name, options #>> '{owner,uid}' AS owner_uid,
                     options #>> '{owner,namespace_uid}' AS owner_namespace_uid,
                     coalesce(options ->> 'access', 'ReadWrite') AS access,
                     coalesce(nullif(options -> 'config', 'null'), '{}') AS config,
                     (options ->> 'quota_limit')::bigint AS quota_limit,
                     left(options ->> 'schema_name', 43) || '_' || right(new.id::text, 12) AS stem
              FROM (SELECT gen_random_uuid() AS id OFFSET 0) AS new) AS w;
        IF NOT is_clear THEN
            RETURN edu_matrix_hub_schema._standing_tenant(tenant);
        END IF;
        IF tenant.institution_id IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._check_institution(
                tenant.institution_id, (options ->> 'register_institution')::boolean, options -> 'institution_source');
            IF tenant.access <> 'Suspended'
               AND EXISTS (SELECT FROM edu_matrix_hub_schema.institutions AS i
                           WHERE i.id = tenant.institution_id AND i.status <> 'active') THEN
                PERFORM edu_matrix_hub_schema._refuse('institution_unknown',
                    format('institution %s is suspended; make it active in edu_matrix_hub_schema.institutions first',
                           tenant.institution_id));
            END IF;
        END IF;
        tenant.keeper := edu_matrix_hub_schema._choose_role_keeper();
        INSERT INTO edu_matrix_hub_schema.tenant_schemas
            (id, institution_id, schema_name, owner_cluster, owner_namespace, owner_name, owner_uid,
             owner_namespace_uid, status, access, config, quota_limit, keeper, owner_role, reader_role,
             writer_role, saved_acl, taken_members, access_cause)
        VALUES (tenant.id, tenant.institution_id, tenant.schema_name, tenant.owner_cluster, tenant.owner_namespace,
                tenant.owner_name, tenant.owner_uid, tenant.owner_namespace_uid, tenant.status, tenant.access,
                tenant.config, tenant.quota_limit, tenant.keeper, tenant.owner_role, tenant.reader_role,
                tenant.writer_role,
                CASE tenant.access WHEN 'Suspended' THEN edu_matrix_hub_schema._usual_acl(tenant) END,
                CASE tenant.access WHEN 'ReadOnly' THEN '[]'::jsonb END, options ->> 'access_cause')
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN edu_matrix_hub_schema._standing_tenant(tenant);
        END IF;
        -- Asked after the row has the name: a tenant that was set aside while the row waited for it is seen now, and
        -- none can be set aside under this name from here on.
        IF EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                   WHERE t.status = 'dropped' AND t.schema_name = tenant.schema_name)
           OR EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                      WHERE t.status = 'dropped' AND t.institution_id = tenant.institution_id) THEN
            left_aside := edu_matrix_hub_schema._reserved(tenant.schema_name, tenant.institution_id,
                                                          (options ->> 'beside')::uuid);
            IF left_aside IS NOT NULL THEN
                PERFORM edu_matrix_hub_schema._refuse('set_aside',
                    format('schema "%s" of an earlier tenant is set aside as "%s"; '
                           'bring it back with restore_set_aside(%L), remove it with purge_schema_backup(%L), '
                           'or leave it there with the option beside',
                           left_aside #>> '{holder,schema_name}', left_aside ->> 'location', left_aside ->> 'backup_id',
                           left_aside ->> 'backup_id'),
                    left_aside);
            END IF;
        END IF;
        INSERT INTO edu_matrix_hub_schema.tenant_locks (schema_id, kind)
        VALUES (tenant.id, 'structure'), (tenant.id, 'access');
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'open',
                                                    ARRAY[tenant.owner_role, tenant.reader_role, tenant.writer_role]);
        PERFORM edu_matrix_hub_schema._build_tenant_schema(tenant);
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            error_state := SQLSTATE;
    END;
    IF error_state IN ('23505', '42P06') THEN
        -- A user made a schema of this name outside of the registry in the same moment: say so.
        BEGIN
            RETURN edu_matrix_hub_schema._standing_tenant(tenant);
        EXCEPTION WHEN SQLSTATE 'TS001' THEN
            GET STACKED DIAGNOSTICS error_message = MESSAGE_TEXT, error_detail = PG_EXCEPTION_DETAIL;
            error_state := SQLSTATE;
        END;
    END IF;
    IF error_state IS NOT NULL THEN
        RETURN edu_matrix_hub_schema._failure('create_tenant_schema', NULL, options ->> 'requested_by',
            coalesce(started, clock_timestamp()),
            format('create schema "%s"', options ->> 'schema_name'), error_state, error_message, error_detail);
    END IF;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'create_tenant_schema', 'success',
                                       options ->> 'requested_by', started,
                                       'create schema "' || tenant.schema_name || '"');
    RETURN edu_matrix_hub_schema._result('success', 'schema "' || tenant.schema_name || '" created', tenant.id,
        jsonb_build_object('roles', jsonb_build_object('owner', tenant.owner_role, 'reader', tenant.reader_role,
                                                       'writer', tenant.writer_role)));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.create_tenant_schema(jsonb) FROM PUBLIC;

-- Says what stands in the way of a new tenant: an answer when it is there already, else a refusal, which names the
-- holder when name, institution or TenantSchema is taken.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._standing_tenant(wanted edu_matrix_hub_schema.tenant_schemas)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    problem       text := edu_matrix_hub_schema._schema_name_problem(wanted.schema_name);
    schema_stands boolean;
    role_stands   boolean;
    standing      edu_matrix_hub_schema.tenant_schemas;
    absence       jsonb;
BEGIN
    PERFORM edu_matrix_hub_schema._need_read_committed();
    IF problem IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('invalid_name', problem);
    END IF;
    IF num_nulls(wanted.owner_cluster, wanted.owner_namespace, wanted.owner_name, wanted.owner_uid) NOT IN (0, 4) THEN
        PERFORM edu_matrix_hub_schema._refuse('internal', 'an owner needs cluster, namespace, name and uid');
    END IF;
    SELECT EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = wanted.schema_name),
           EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = wanted.schema_name)
    INTO schema_stands, role_stands;

    FOR standing IN
        SELECT t.*
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.status <> 'dropped'
          AND (t.schema_name = wanted.schema_name OR t.institution_id = wanted.institution_id
               OR t.owner_uid = wanted.owner_uid)
        -- Its own row first: what it owns itself is not taken by another.
        ORDER BY t.owner_uid IS NOT DISTINCT FROM wanted.owner_uid DESC, t.schema_name = wanted.schema_name DESC
    LOOP
        IF standing.schema_name = wanted.schema_name
           AND standing.institution_id IS NOT DISTINCT FROM wanted.institution_id
           AND standing.owner_uid IS NOT DISTINCT FROM wanted.owner_uid
           AND standing.owner_cluster IS NOT DISTINCT FROM wanted.owner_cluster THEN
            IF standing.status = 'dropping' THEN
                PERFORM edu_matrix_hub_schema._refuse('busy', 'it is just being dropped');
            END IF;
            absence := edu_matrix_hub_schema._schema_absence(standing);
            IF absence IS NOT NULL THEN
                PERFORM edu_matrix_hub_schema._refuse('schema_missing', 'it was created before and is missing now: '
                    || (absence ->> 'text'),
                    jsonb_build_object('schema_id', standing.id, 'absence', absence));
            END IF;
            RETURN edu_matrix_hub_schema._result('unchanged', format('schema "%s" stands already', wanted.schema_name),
                                                 standing.id);
        ELSIF standing.owner_uid = wanted.owner_uid THEN
            PERFORM edu_matrix_hub_schema._refuse('name_taken',
                format('this TenantSchema owns schema "%s" already', standing.schema_name),
                jsonb_build_object('holder', edu_matrix_hub_schema._claim(standing)));
        ELSIF standing.schema_name = wanted.schema_name THEN
            PERFORM edu_matrix_hub_schema._refuse('name_taken', 'another tenant has this name; choose another',
                jsonb_build_object('holder', edu_matrix_hub_schema._claim(standing)));
        ELSE
            PERFORM edu_matrix_hub_schema._refuse('institution_taken',
                format('institution %s has a schema already', wanted.institution_id),
                jsonb_build_object('holder', edu_matrix_hub_schema._claim(standing)));
        END IF;
    END LOOP;

    IF schema_stands THEN
        SELECT t.* INTO standing
        FROM edu_matrix_hub_schema.tenant_schemas AS t JOIN pg_namespace AS n ON n.oid = t.schema_oid
        WHERE n.nspname = wanted.schema_name AND t.status <> 'dropped' AND NOT edu_matrix_hub_schema._world_moved();
        IF standing.id IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('name_taken',
                'the schema of another tenant has this name for now, because it was renamed by hand',
                jsonb_build_object('holder', edu_matrix_hub_schema._claim(standing)));
        END IF;
        PERFORM edu_matrix_hub_schema._refuse('name_taken',
            'a schema of this name stands that is no tenant of ours; choose another name');
    ELSIF role_stands THEN
        PERFORM edu_matrix_hub_schema._refuse('name_taken',
            'a role has this name, and the schema would come first in its default search_path; choose another name');
    END IF;
    -- What stood in the way has gone since.
    PERFORM edu_matrix_hub_schema._refuse('busy', 'another session was about to create it; try again');
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._standing_tenant(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- The grants on a tenant's schema that it has when it is open, as saved_acl keeps them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._usual_acl(tenant edu_matrix_hub_schema.tenant_schemas) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT pg_catalog.jsonb_build_array(
        pg_catalog.jsonb_build_object('grantee', tenant.reader_role, 'privilege', 'USAGE', 'grantable', false),
        pg_catalog.jsonb_build_object('grantee', tenant.writer_role, 'privilege', 'USAGE', 'grantable', false))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._usual_acl(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

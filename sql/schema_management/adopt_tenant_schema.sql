-- Makes a tenant of a schema that stands already, with all that is in it, or gives a tenant that was made by hand to a
-- TenantSchema. options: {schema_name, owner: {cluster, namespace, name, uid, namespace_uid?}, digest, institution_id?,
-- register_institution?, institution_source?, config?, quota_limit?, requested_by?}.
--
-- The first call begins: if what would change is still what `digest` confirms (see _adoption_facts) and nothing is left
-- for a DBA to do, it makes the roles, makes the former owners members of the owner role, gives that the schema, and
-- answers `partial`. Each later call gives on at most 50 objects and what reader and writer get on them, and answers
-- `partial` with {moved, total}; the last one makes the tenant's row and answers `success`. Interrupted anywhere and
-- called again it goes on. Nothing that another session holds is waited for longer than 100 ms: it comes later.
--
-- To change an owner runs no code of the schema, so all this is done by the function itself; while its transaction
-- lasts it is a member of the roles whose objects it gives on. Grants, rows and definitions stay as they are.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.adopt_tenant_schema(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    name         CONSTANT text := options ->> 'schema_name';
    attempt      CONSTANT text := format('adopt schema "%s"', name);
    namespace    CONSTANT oid := to_regnamespace(quote_ident(name))::oid;
    tenant       edu_matrix_hub_schema.tenant_schemas;
    adoption     edu_matrix_hub_schema.tenant_adoptions;
    before       integer;
    answer       text := 'partial';
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        IF num_nulls(options #>> '{owner,cluster}', options #>> '{owner,namespace}', options #>> '{owner,name}',
                     options #>> '{owner,uid}') > 0 THEN
            PERFORM edu_matrix_hub_schema._refuse('internal', 'an owner needs cluster, namespace, name and uid');
        END IF;
        SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.status <> 'dropped' AND (t.schema_name = name OR t.owner_uid = options #>> '{owner,uid}')
        ORDER BY t.owner_uid IS NOT DISTINCT FROM options #>> '{owner,uid}' DESC LIMIT 1;
        IF tenant.owner_uid = options #>> '{owner,uid}' AND tenant.schema_name = name THEN
            RETURN edu_matrix_hub_schema._result('unchanged', format('schema "%s" is this TenantSchema''s', name),
                                                 tenant.id);
        ELSIF tenant.owner_uid IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('name_taken',
                CASE WHEN tenant.owner_uid = options #>> '{owner,uid}'
                     THEN format('this TenantSchema owns schema "%s" already', tenant.schema_name)
                     ELSE 'another tenant has this name' END,
                jsonb_build_object('holder', edu_matrix_hub_schema._claim(tenant)));
        ELSIF tenant.id IS NOT NULL THEN
            answer := edu_matrix_hub_schema._adopt_hand_made(tenant.id, options);
            adoption.schema_id := tenant.id;
        ELSE
            IF namespace IS NULL THEN
                PERFORM edu_matrix_hub_schema._refuse('not_found', 'there is no schema of this name');
            END IF;
            SELECT * INTO adoption FROM edu_matrix_hub_schema.tenant_adoptions AS a
            WHERE a.schema_oid = namespace FOR UPDATE;
            IF adoption.owner_uid IS DISTINCT FROM options #>> '{owner,uid}' THEN
                PERFORM set_config('lock_timeout', '2s', true);
                adoption := edu_matrix_hub_schema._begin_adoption(namespace, options);
                PERFORM edu_matrix_hub_schema._log(adoption.schema_id, 'adopt_tenant_schema', 'success',
                    options ->> 'requested_by', started, 'begin to ' || attempt,
                    jsonb_build_object('owner', options -> 'owner', 'former', adoption.former,
                                       'total', adoption.total, 'roles', jsonb_build_array(
                                           adoption.owner_role, adoption.reader_role, adoption.writer_role)));
            ELSE
                before := adoption.moved;
                adoption := edu_matrix_hub_schema._move_objects(adoption);
                IF adoption.at_class IS NULL THEN
                    PERFORM edu_matrix_hub_schema._end_adoption(adoption, options);
                    answer := 'success';
                ELSIF adoption.moved = before AND adoption.held <> '{}' THEN
                    answer := 'busy';
                END IF;
            END IF;
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('adopt_tenant_schema', adoption.schema_id,
                                                  options ->> 'requested_by', started, attempt, SQLSTATE, SQLERRM,
                                                  error_detail);
    END;
    IF answer <> 'success' THEN
        RETURN edu_matrix_hub_schema._result(answer,
            format('%s of %s objects of schema "%s" belong to role "%s"', adoption.moved, adoption.total, name,
                   adoption.owner_role)
            || CASE answer WHEN 'busy' THEN format('; another session holds %s%s, and it is tried again',
                   (SELECT string_agg(h.oid::regclass::text, ', ') FROM unnest(adoption.held) AS h (oid)),
                   coalesce(': ' || (edu_matrix_hub_schema._blocker(adoption.schema_id, adoption.held) ->> 'text'), ''))
               ELSE '' END,
            NULL, jsonb_build_object('moved', adoption.moved, 'total', adoption.total));
    END IF;
    PERFORM edu_matrix_hub_schema._log(adoption.schema_id, 'adopt_tenant_schema', 'success',
        options ->> 'requested_by', started, attempt,
        jsonb_build_object('owner', options -> 'owner', 'moved', adoption.moved));
    RETURN edu_matrix_hub_schema._result('success', format('schema "%s" is adopted', name), adoption.schema_id,
                                         jsonb_build_object('moved', adoption.moved, 'total', adoption.total));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.adopt_tenant_schema(jsonb) FROM PUBLIC;

-- Gives a tenant that was made by hand to a TenantSchema: nothing but its row changes.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._adopt_hand_made(schema_id uuid, options jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    tenant CONSTANT edu_matrix_hub_schema.tenant_schemas :=
        edu_matrix_hub_schema._lock_tenant(schema_id, 'access', true);
BEGIN
    IF options ->> 'digest' IS DISTINCT FROM edu_matrix_hub_schema._hand_made_digest(schema_id)
       OR tenant.owner_uid IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('busy', 'another tenant was confirmed than this one');
    ELSIF tenant.institution_id IS DISTINCT FROM (options ->> 'institution_id')::uuid THEN
        PERFORM edu_matrix_hub_schema._refuse('institution_taken', format('the tenant is of %s',
            coalesce('institution ' || tenant.institution_id, 'no institution')));
    END IF;
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t
    SET owner_cluster = options #>> '{owner,cluster}', owner_namespace = options #>> '{owner,namespace}',
        owner_name = options #>> '{owner,name}', owner_uid = options #>> '{owner,uid}',
        owner_namespace_uid = options #>> '{owner,namespace_uid}', taken_over = false, reported = NULL,
        updated_at = now()
    WHERE t.id = schema_id;
    RETURN 'success';
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._adopt_hand_made(uuid, jsonb) FROM PUBLIC;

-- Begins an adoption, or gives one that an earlier TenantSchema began to this one; returns its row.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._begin_adoption(namespace oid, options jsonb)
RETURNS edu_matrix_hub_schema.tenant_adoptions
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    why      CONSTANT text := edu_matrix_hub_schema._not_adoptable(namespace);
    facts    jsonb;
    adoption edu_matrix_hub_schema.tenant_adoptions;
    tenant   edu_matrix_hub_schema.tenant_schemas;
    holder   oid;
    stem     text;
BEGIN
    IF why IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('name_taken', why);
    END IF;
    facts := edu_matrix_hub_schema._adoption_facts(namespace);
    IF options ->> 'digest' IS DISTINCT FROM facts ->> 'digest' THEN
        PERFORM edu_matrix_hub_schema._refuse('busy',
                                              'what would change is something else now than what was confirmed');
    ELSIF (facts -> 'is_left')::boolean THEN
        PERFORM edu_matrix_hub_schema._refuse('insufficient_privilege',
            format('a DBA has to run first: %s', facts #>> '{statements,0}'));
    END IF;
    PERFORM edu_matrix_hub_schema._institution_for(options);
    UPDATE edu_matrix_hub_schema.tenant_adoptions AS a
    SET owner_cluster = options #>> '{owner,cluster}', owner_namespace = options #>> '{owner,namespace}',
        owner_name = options #>> '{owner,name}', owner_uid = options #>> '{owner,uid}',
        schema_name = options ->> 'schema_name', digest = options ->> 'digest'
    WHERE a.schema_oid = namespace
    RETURNING a.* INTO adoption;
    IF FOUND THEN
        RETURN adoption;
    END IF;

    SELECT gen_random_uuid(), options ->> 'schema_name', 'ReadWrite', n.nspowner,
           jsonb_build_object('owner', pg_get_userbyid(n.nspowner), 'grants', n.nspacl::text[],
                              'comment', obj_description(n.oid, 'pg_namespace'))
    INTO tenant.id, tenant.schema_name, tenant.access, holder, adoption.former
    FROM pg_namespace AS n WHERE n.oid = namespace;
    -- What of the name is plain in any encoding; a name that is not begins with a letter all the same.
    stem := left(regexp_replace(tenant.schema_name, '[^a-z0-9_]', '_', 'g'), 43) || '_' || right(tenant.id::text, 12);
    tenant.owner_role := stem || '_owner';
    tenant.reader_role := stem || '_reader';
    tenant.writer_role := stem || '_writer';
    tenant.keeper := edu_matrix_hub_schema._choose_role_keeper();
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'open',
                                                ARRAY[tenant.owner_role, tenant.reader_role, tenant.writer_role]);
    PERFORM edu_matrix_hub_schema._let_former_owners(tenant.keeper, tenant.owner_role, ARRAY[holder]);
    PERFORM edu_matrix_hub_schema._act_as(ARRAY[holder], true);
    PERFORM edu_matrix_hub_schema._build_tenant_schema(tenant, true);
    PERFORM edu_matrix_hub_schema._act_as(ARRAY[holder], false);
    INSERT INTO edu_matrix_hub_schema.tenant_adoptions AS a
        (schema_id, schema_oid, schema_name, owner_cluster, owner_namespace, owner_name, owner_uid, keeper, owner_role,
         reader_role, writer_role, owner_role_oid, reader_role_oid, writer_role_oid, former, digest, total)
    VALUES (tenant.id, namespace, tenant.schema_name, options #>> '{owner,cluster}', options #>> '{owner,namespace}',
            options #>> '{owner,name}', options #>> '{owner,uid}', tenant.keeper, tenant.owner_role,
            tenant.reader_role, tenant.writer_role, to_regrole(quote_ident(tenant.owner_role)),
            to_regrole(quote_ident(tenant.reader_role)), to_regrole(quote_ident(tenant.writer_role)),
            adoption.former, options ->> 'digest', (facts ->> 'total')::integer)
    RETURNING a.* INTO adoption;
    RETURN adoption;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._begin_adoption(oid, jsonb) FROM PUBLIC;

-- Refuses unless a new tenant may have the institution that it is to be for.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._institution_for(options jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    wanted CONSTANT uuid := (options ->> 'institution_id')::uuid;
    holder edu_matrix_hub_schema.tenant_schemas;
BEGIN
    IF wanted IS NULL THEN
        RETURN;
    END IF;
    PERFORM edu_matrix_hub_schema._check_institution(wanted, (options ->> 'register_institution')::boolean,
                                                     options -> 'institution_source');
    SELECT * INTO holder FROM edu_matrix_hub_schema.tenant_schemas AS t
    WHERE t.institution_id = wanted AND t.status <> 'dropped';
    IF FOUND THEN
        PERFORM edu_matrix_hub_schema._refuse('institution_taken',
            format('institution %s has a schema already', wanted),
            jsonb_build_object('holder', edu_matrix_hub_schema._claim(holder)));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._institution_for(jsonb) FROM PUBLIC;

-- Makes us a member of those of some roles whose objects we can only give on so, or ends that.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._act_as(roles oid[], begins boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    names text[];
BEGIN
    IF begins THEN
        SELECT coalesce(array_agg(r.rolname::text), '{}') INTO names
        FROM pg_roles AS r WHERE r.oid = ANY (roles) AND edu_matrix_hub_schema._way_to_act_as(r.oid) = 'take';
        PERFORM edu_matrix_hub_schema._role_command(NULL, 'take', names);
    ELSE
        -- Those that we gave ourselves.
        SELECT coalesce(array_agg(DISTINCT r.rolname::text), '{}') INTO names
        FROM pg_roles AS r
        JOIN pg_auth_members AS m ON m.roleid = r.oid AND m.member = current_user::regrole
         AND m.grantor = current_user::regrole
        WHERE r.oid = ANY (roles);
        PERFORM edu_matrix_hub_schema._role_command(NULL, 'give_back', names);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._act_as(oid[], boolean) FROM PUBLIC;

-- Makes roles whose objects an owner role gets its members, so that their applications go on as before, unless they are
-- ours, superusers or the server's.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._let_former_owners(keeper integer, owner_role text, roles oid[])
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    PERFORM edu_matrix_hub_schema._role_command(keeper, 'join inherit set', array_agg(r.rolname::text), owner_role)
    FROM pg_roles AS r
    WHERE r.oid = ANY (roles) AND r.oid >= 16384 AND NOT r.rolsuper
      AND NOT edu_matrix_hub_schema._is_of_the_operator(r.oid) AND NOT pg_has_role(r.oid, owner_role, 'MEMBER')
    HAVING count(*) > 0;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._let_former_owners(integer, text, oid[]) FROM PUBLIC;

-- Gives on the next objects of a schema that is being adopted, at most 50, with what reader and writer get on them, and
-- returns the row of the adoption; its `at_class` is null when all of them are the owner role's. What another session
-- holds is passed over, is in `held`, and comes in the next round. After three of these the batch ends, since what it
-- has given on is locked until then.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._move_objects(adoption edu_matrix_hub_schema.tenant_adoptions)
RETURNS edu_matrix_hub_schema.tenant_adoptions
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    most      CONSTANT integer := 50;
    -- Of later rounds most objects are done.
    entries   CONSTANT integer := CASE adoption.round WHEN 1 THEN most ELSE 5000 END;
    last      record;
    objects   jsonb;
    object    record;
    done      jsonb := '[]'::jsonb;
    former    oid[];
    is_held   oid[] := '{}'::oid[];
    statement text;
    left_over record;
BEGIN
    SELECT * INTO last
    FROM edu_matrix_hub_schema._last_entry(adoption.schema_oid, adoption.at_class, adoption.at_object, entries);
    IF last.objid IS NULL THEN
        RETURN edu_matrix_hub_schema._next_round(adoption);
    END IF;
    SELECT coalesce(jsonb_agg(to_jsonb(o) ORDER BY o.classid, o.objid), '[]'),
           coalesce(array_agg(DISTINCT o.owner) FILTER (WHERE o.owner <> adoption.owner_role_oid), '{}')
    INTO objects, former
    FROM (SELECT w.classid::bigint AS classid, w.objid::bigint AS objid, w.kind, w.owner, w.moves
          FROM edu_matrix_hub_schema._adoptable_objects(adoption.schema_oid, adoption.at_class, adoption.at_object,
                                                        entries) AS w
          WHERE adoption.round = 1 OR w.owner <> adoption.owner_role_oid
          ORDER BY w.classid, w.objid LIMIT most) AS o;
    SELECT edu_matrix_hub_schema._way_to_act_as(f.owner) AS way, pg_get_userbyid(f.owner) AS name INTO left_over
    FROM unnest(former) AS f (owner)
    WHERE edu_matrix_hub_schema._way_to_act_as(f.owner) IN ('grant', 'script') LIMIT 1;
    IF FOUND THEN
        PERFORM edu_matrix_hub_schema._refuse('insufficient_privilege',
            format('objects of role "%s" came since it began; a DBA can run: %s', left_over.name,
                   CASE left_over.way
                       WHEN 'grant' THEN format('GRANT %I TO %I WITH ADMIN TRUE, INHERIT FALSE, SET FALSE',
                                                left_over.name, current_user)
                       ELSE edu_matrix_hub_schema._adoption_script(adoption.schema_name) END));
    END IF;
    PERFORM edu_matrix_hub_schema._let_former_owners(adoption.keeper, adoption.owner_role, former);
    PERFORM edu_matrix_hub_schema._act_as(former, true);
    PERFORM edu_matrix_hub_schema._role_command(adoption.keeper, 'take', ARRAY[adoption.owner_role]);
    FOR object IN
        SELECT o.value, (o.value ->> 'classid')::oid AS classid, (o.value ->> 'objid')::oid AS objid,
               (o.value ->> 'moves')::boolean AND (o.value ->> 'owner')::oid <> adoption.owner_role_oid AS moves
        FROM jsonb_array_elements(objects) WITH ORDINALITY AS o (value, n) ORDER BY o.n
    LOOP
        IF object.moves THEN
            statement := edu_matrix_hub_schema._owner_statement(object.classid, object.objid, adoption.owner_role);
            BEGIN
                EXECUTE coalesce(statement, 'SELECT');
            EXCEPTION
                WHEN lock_not_available THEN
                    is_held := is_held || object.objid;
                WHEN undefined_object OR undefined_table OR undefined_function THEN
                    -- It was dropped in this moment, or got another name: the next round sees.
                    is_held := is_held || object.objid;
                WHEN wrong_object_type THEN
                    -- On newer servers a multirange goes with its range.
                    NULL;
                WHEN insufficient_privilege OR invalid_schema_name OR syntax_error_or_access_rule_violation THEN
                    PERFORM edu_matrix_hub_schema._refuse('insufficient_privilege',
                        format('%s; a DBA can run: %s', SQLERRM, statement));
            END;
        END IF;
        adoption.at_class := object.classid;
        adoption.at_object := object.objid;
        EXIT WHEN cardinality(is_held) = 3;
        IF object.objid <> ALL (is_held) THEN
            done := done || object.value;
        END IF;
    END LOOP;
    IF cardinality(is_held) < 3 AND jsonb_array_length(objects) < most THEN
        adoption.at_class := last.classid;
        adoption.at_object := last.objid;
    END IF;
    PERFORM edu_matrix_hub_schema._grant_on_adopted(adoption, done);
    PERFORM edu_matrix_hub_schema._role_command(adoption.keeper, 'give_back', ARRAY[adoption.owner_role]);
    PERFORM edu_matrix_hub_schema._act_as(former, false);
    UPDATE edu_matrix_hub_schema.tenant_adoptions AS a
    SET at_class = adoption.at_class, at_object = adoption.at_object, held = is_held,
        moved = a.moved + jsonb_array_length(done), total = greatest(a.total, a.moved + jsonb_array_length(done))
    WHERE a.schema_id = adoption.schema_id
    RETURNING a.* INTO adoption;
    RETURN adoption;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._move_objects(edu_matrix_hub_schema.tenant_adoptions) FROM PUBLIC;

-- What comes when all objects were gone through: the end if all are the owner role's, else another round over those
-- that are not.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._next_round(adoption edu_matrix_hub_schema.tenant_adoptions)
RETURNS edu_matrix_hub_schema.tenant_adoptions
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    remaining bigint;
BEGIN
    SELECT count(*) INTO remaining
    FROM edu_matrix_hub_schema._adoptable_objects(adoption.schema_oid) AS o
    WHERE o.moves AND o.owner <> adoption.owner_role_oid;
    IF remaining = 0 THEN
        adoption.at_class := NULL;
        RETURN adoption;
    END IF;
    UPDATE edu_matrix_hub_schema.tenant_adoptions AS a
    SET at_class = 0, at_object = 0, held = '{}', round = a.round + 1, total = (a.moved + remaining)::integer
    WHERE a.schema_id = adoption.schema_id
    RETURNING a.* INTO adoption;
    RETURN adoption;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._next_round(edu_matrix_hub_schema.tenant_adoptions) FROM PUBLIC;

-- Gives reader and writer on objects of one batch what the default privileges give them on new ones. Rights that others
-- have on them stay, and so does what PUBLIC may: applications may live by it. What cannot be granted is left.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._grant_on_adopted(adoption edu_matrix_hub_schema.tenant_adoptions,
                                                                   objects jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    granted record;
    single  text;
BEGIN
    FOR granted IN
        SELECT format('GRANT %s ON %s ', w.privileges, w.kind) AS granting,
               CASE WHEN w.reads THEN format(' TO %I, %I', adoption.reader_role, adoption.writer_role)
                    ELSE format(' TO %I', adoption.writer_role) END AS grantees,
               array_agg(o.name ORDER BY o.objid) AS names
        FROM (SELECT e.value ->> 'kind' AS kind, (e.value ->> 'objid')::oid AS objid,
                     CASE e.value ->> 'kind'
                         WHEN 'routine' THEN edu_matrix_hub_schema._routine_name((e.value ->> 'objid')::oid)
                         ELSE (SELECT i.identity
                               FROM pg_identify_object((e.value ->> 'classid')::oid, (e.value ->> 'objid')::oid, 0)
                                    AS i) END AS name
              FROM jsonb_array_elements(objects) AS e) AS o
        JOIN (VALUES ('sequence', 'SEQUENCE', 'SELECT', true), ('sequence', 'SEQUENCE', 'USAGE', false),
                     ('table', 'TABLE', 'SELECT', true), ('table', 'TABLE', 'INSERT, UPDATE, DELETE', false),
                     ('routine', 'ROUTINE', 'EXECUTE', false),
                     ('type', 'TYPE', 'USAGE', true)) AS w (for_kind, kind, privileges, reads)
          ON w.for_kind = CASE WHEN o.kind IN ('view', 'materialized view', 'foreign table') THEN 'table'
                               ELSE o.kind END
        WHERE o.name IS NOT NULL
        GROUP BY w.kind, w.privileges, w.reads
    LOOP
        BEGIN
            EXECUTE granted.granting || array_to_string(granted.names, ', ') || granted.grantees;
            CONTINUE;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
            NULL;
        END;
        FOREACH single IN ARRAY granted.names LOOP
            BEGIN
                EXECUTE granted.granting || single || granted.grantees;
            EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
                -- Such as a routine with an argument of a type that we may not use.
                NULL;
            END;
        END LOOP;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._grant_on_adopted(edu_matrix_hub_schema.tenant_adoptions, jsonb)
    FROM PUBLIC;

-- Makes the row of a tenant whose schema is adopted whole. Roles that have rights on the schema keep them, and so do
-- the former owners; what PUBLIC, other tenants and we have there is taken by the repair that follows.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_adoption(adoption edu_matrix_hub_schema.tenant_adoptions,
                                                               options jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    PERFORM set_config('lock_timeout', '2s', true);
    PERFORM edu_matrix_hub_schema._institution_for(options);
    INSERT INTO edu_matrix_hub_schema.tenant_schemas
        (id, institution_id, schema_name, schema_oid, owner_cluster, owner_namespace, owner_name, owner_uid,
         owner_namespace_uid, status, access, config, quota_limit, keeper, owner_role, reader_role, writer_role,
         owner_role_oid, reader_role_oid, writer_role_oid, adopted_objects, kept_roles, kept_role_oids)
    SELECT adoption.schema_id, (options ->> 'institution_id')::uuid, adoption.schema_name, adoption.schema_oid,
           adoption.owner_cluster, adoption.owner_namespace, adoption.owner_name, adoption.owner_uid,
           options #>> '{owner,namespace_uid}', 'active', 'ReadWrite',
           coalesce(nullif(options -> 'config', 'null'), '{}'), (options ->> 'quota_limit')::bigint, adoption.keeper,
           adoption.owner_role, adoption.reader_role, adoption.writer_role, adoption.owner_role_oid,
           adoption.reader_role_oid, adoption.writer_role_oid, adoption.moved,
           coalesce(array_agg(k.rolname::text ORDER BY k.oid), '{}'), coalesce(array_agg(k.oid ORDER BY k.oid), '{}')
    FROM (SELECT r.oid, r.rolname
          FROM (SELECT a.grantee AS oid FROM pg_namespace AS n CROSS JOIN aclexplode(n.nspacl) AS a
                WHERE n.oid = adoption.schema_oid AND a.grantee <> n.nspowner
                UNION SELECT m.member FROM pg_auth_members AS m WHERE m.roleid = adoption.owner_role_oid) AS w
          JOIN pg_roles AS r ON r.oid = w.oid
          WHERE NOT edu_matrix_hub_schema._is_of_the_operator(r.oid)) AS k;
    INSERT INTO edu_matrix_hub_schema.tenant_locks (schema_id, kind)
    VALUES (adoption.schema_id, 'structure'), (adoption.schema_id, 'access');
    DELETE FROM edu_matrix_hub_schema.tenant_adoptions AS a WHERE a.schema_id = adoption.schema_id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_adoption(edu_matrix_hub_schema.tenant_adoptions, jsonb) FROM PUBLIC;

-- Drops the roles of a tenant, its logins included, through the keeper that holds them, after the caller has removed
-- what they own. Grants that they hold and their default privileges in this database go with them.
--
-- DROP OWNED would also remove objects; so it is refused, with a list, while one of the roles owns anything in this
-- database or appears in another one.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._drop_tenant_roles(schema_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    tenant     edu_matrix_hub_schema.tenant_schemas;
    standing   text[];
    dependents text[];
    statements text[];
    total      bigint;
    granter    record;
    taken      jsonb := '[]'::jsonb;
BEGIN
    SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = schema_id;
    standing := edu_matrix_hub_schema._own_roles(tenant);
    DELETE FROM edu_matrix_hub_schema.tenant_credentials AS c WHERE c.schema_id = tenant.id;
    DELETE FROM edu_matrix_hub_schema.opened_logins AS o WHERE o.schema_id = tenant.id;
    DELETE FROM edu_matrix_hub_schema.tenant_sessions AS s WHERE s.schema_id = tenant.id;
    DELETE FROM edu_matrix_hub_schema.quota_files AS q WHERE q.schema_id = tenant.id;
    DELETE FROM edu_matrix_hub_schema.tenant_grants AS g WHERE g.schema_id = tenant.id;
    DELETE FROM edu_matrix_hub_schema.tenant_grantees AS h WHERE h.schema_id = tenant.id;
    DELETE FROM edu_matrix_hub_schema.tenant_row_security AS s WHERE s.schema_id = tenant.id;
    IF standing = '{}' THEN
        RETURN;
    END IF;

    WITH held AS MATERIALIZED (
        SELECT DISTINCT CASE WHEN s.dbid IN (0, here.oid) THEN s.classid END AS classid,
                        CASE WHEN s.dbid IN (0, here.oid) THEN s.objid END AS objid,
                        CASE WHEN s.dbid IN (0, here.oid) THEN s.objsubid END AS objsubid,
                        CASE WHEN s.dbid NOT IN (0, here.oid) THEN r.rolname END AS role,
                        CASE WHEN s.dbid NOT IN (0, here.oid) THEN s.dbid END AS elsewhere
        FROM pg_shdepend AS s
        JOIN pg_roles AS r ON r.oid = s.refobjid
        JOIN pg_database AS here ON here.datname = current_database()
        WHERE s.refclassid = 'pg_authid'::regclass
          AND r.rolname = ANY (standing)
          AND (s.dbid NOT IN (0, here.oid) OR (s.deptype = 'o' AND s.classid <> 'pg_default_acl'::regclass))
    ), shown AS (
        -- There may be any number of them, such as large objects, and only a few are told.
        SELECT CASE WHEN h.elsewhere IS NULL THEN pg_describe_object(h.classid, h.objid, h.objsubid)
                    ELSE format('objects of role %s in database %s', h.role, d.datname) END AS what,
               CASE WHEN h.classid = 'pg_largeobject'::regclass THEN format('SELECT lo_unlink(%s)', h.objid)
                    WHEN h.elsewhere IS NULL THEN edu_matrix_hub_schema._way_out(h.classid, h.objid)
                    ELSE format('DROP OWNED BY %I (in database %I)', h.role, d.datname) END AS statement
        FROM (SELECT * FROM held ORDER BY held.classid, held.objid, held.role, held.elsewhere LIMIT 50) AS h
        LEFT JOIN pg_database AS d ON d.oid = h.elsewhere
    )
    SELECT (SELECT count(*) FROM held), array_agg(f.what ORDER BY f.what), array_agg(f.statement ORDER BY f.what)
    INTO total, dependents, statements
    FROM shown AS f;
    IF total > 0 THEN
        PERFORM edu_matrix_hub_schema._refuse('dependents',
            format('the roles of schema "%s" still own or hold %s objects (%s); a DBA can run: %s; '
                   'it goes on by itself then', tenant.schema_name, total, array_to_string(dependents[:10], ', ')
                       || CASE WHEN total > 10 THEN ', ...' ELSE '' END,
                   array_to_string(statements[:3], '; ') || CASE WHEN total > 3 THEN '; and so on' ELSE '' END),
            jsonb_build_object('dependents', dependents, 'statements', statements, 'dependent_count', total));
    END IF;

    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', standing);
    -- What other tenants, or logins of theirs, granted to these roles only those can take back, and a member of them by
    -- DROP OWNED.
    FOR granter IN
        SELECT t.keeper, array_agg(r.rolname::text) AS roles
        FROM pg_roles AS r
        JOIN edu_matrix_hub_schema.tenant_schemas AS t
          ON t.owner_role_oid = r.oid AND t.owner_role = r.rolname
          OR r.rolname = ANY (t.logins) AND r.rolname = ANY (edu_matrix_hub_schema._own_logins(t))
        WHERE t.id <> tenant.id AND r.oid IN (
        SELECT o.refobjid
        FROM pg_shdepend AS s
        JOIN pg_roles AS ours ON ours.oid = s.refobjid AND ours.rolname = ANY (standing)
        JOIN pg_shdepend AS o ON o.dbid = s.dbid AND o.classid = s.classid AND o.objid = s.objid AND o.deptype = 'o'
         AND o.refclassid = 'pg_authid'::regclass
        WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'a'
          AND s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()))
        GROUP BY t.keeper
    LOOP
        PERFORM edu_matrix_hub_schema._role_command(granter.keeper, 'take', granter.roles);
        taken := taken || jsonb_build_array(to_jsonb(granter));
    END LOOP;
    -- One by one: the owner's default privileges name the reader too, and one command for both fails over what it has
    -- just removed.
    EXECUTE (SELECT string_agg(format('DROP OWNED BY %I', name), '; ' ORDER BY name = tenant.owner_role)
             FROM unnest(standing) AS name);
    PERFORM edu_matrix_hub_schema._role_command((g.value ->> 'keeper')::integer, 'give_back',
                                                ARRAY(SELECT jsonb_array_elements_text(g.value -> 'roles')))
    FROM jsonb_array_elements(taken) AS g (value);
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'drop', standing);
    IF tenant.keeper IS NOT NULL THEN
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET keeper = NULL WHERE t.id = schema_id;
        -- A keeper that was full has room again, unless it is just being closed by another transaction.
        UPDATE edu_matrix_hub_schema.role_keepers AS k SET is_open = true
        WHERE k.n = (SELECT locked.n FROM edu_matrix_hub_schema.role_keepers AS locked
                     WHERE locked.n = tenant.keeper AND NOT locked.is_open FOR UPDATE SKIP LOCKED);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._drop_tenant_roles(uuid) FROM PUBLIC;

-- The statement that a DBA runs about an object that a tenant's role owns. What may be code of the tenant's is dropped
-- and never given to another role: a function that runs with its owner's rights, or a view, would lend those of its new
-- owner to the tenant. A table or sequence may stay, as the property of its schema's owner, unless that is a superuser.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._way_out(classid oid, objid oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT CASE WHEN i.type IN ('database', 'tablespace') THEN
                    format('ALTER %s %s OWNER TO another_role', upper(i.type), i.identity)
                ELSE format('DROP %s %s', CASE i.type WHEN 'statistics object' THEN 'STATISTICS'
                                               ELSE upper(replace(i.type, '-', ' ')) END, i.identity)
                     || coalesce((SELECT format(', or to keep it, ALTER %s %s OWNER TO %I',
                                                upper(i.type), i.identity, o.rolname)
                                  FROM pg_namespace AS n JOIN pg_roles AS o ON o.oid = n.nspowner
                                  WHERE n.nspname = i.schema AND i.type IN ('table', 'sequence') AND NOT o.rolsuper
                                    -- The member of that role, which owns public, is the owner of the database, often a
                                    -- superuser.
                                    AND o.rolname <> 'pg_database_owner'), '') END
    FROM pg_identify_object($1, $2, 0) AS i
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._way_out(oid, oid) FROM PUBLIC;

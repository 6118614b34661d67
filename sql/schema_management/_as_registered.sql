-- What a tenant's row names is what its identifiers say. Something else that bears the name is not the tenant's.

-- True when the registry's identifiers are of another world: after a dump was restored, or after pg_upgrade, every
-- schema has a new one, and any of the former may be a stranger's. Both make a new server or a new registry schema. A
-- server that does not tell its identifier is not asked.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._world_moved() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    RETURN (SELECT i.registry_oid <> 'edu_matrix_hub_schema'::regnamespace
                   OR coalesce(i.system_identifier <> edu_matrix_hub_schema._system_identifier(), false)
            FROM edu_matrix_hub_schema.installation AS i);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._world_moved() FROM PUBLIC;

-- Why a tenant's schema does not stand under its name, or null when it does: {kind, text, now?, statement?, owner?,
-- installation_id}.
--
--   renamed   it is called `now`, and `statement` names it back
--   unbound   its identifier is not known in this world; rebind_tenants() finds it
--   replaced  it is gone, and what bears its name belongs to role `owner`
--   unknown   the row is older than identifiers, and what bears its name does not belong to the tenant's owner role
--   dropped   it is gone
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._schema_absence(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    moved        CONSTANT boolean := edu_matrix_hub_schema._world_moved();
    installation CONSTANT uuid := (SELECT i.installation_id FROM edu_matrix_hub_schema.installation AS i);
    bearer       oid;
    owner        text;
    now          text;
    kind         text;
BEGIN
    SELECT n.oid, pg_get_userbyid(n.nspowner)::text INTO bearer, owner FROM pg_namespace AS n
    WHERE n.nspname = tenant.schema_name;
    IF bearer = tenant.schema_oid THEN
        RETURN NULL;
    END IF;
    IF NOT moved THEN
        SELECT n.nspname::text INTO now FROM pg_namespace AS n WHERE n.oid = tenant.schema_oid;
    END IF;
    kind := CASE WHEN now IS NOT NULL THEN 'renamed'
                 WHEN moved OR edu_matrix_hub_schema._bindable_schema(tenant) IS NOT NULL THEN 'unbound'
                 WHEN bearer IS NULL THEN 'dropped'
                 WHEN tenant.schema_oid IS NULL THEN 'unknown'
                 ELSE 'replaced' END;
    RETURN jsonb_strip_nulls(jsonb_build_object(
        'kind', kind, 'now', now, 'owner', owner, 'installation_id', installation,
        'statement', CASE WHEN now IS NOT NULL THEN format('ALTER SCHEMA %I RENAME TO %I', now, tenant.schema_name) END,
        'text', CASE kind
        WHEN 'renamed' THEN format('it is called "%s" now; a DBA can run: ALTER SCHEMA %I RENAME TO %I',
                                   now, now, tenant.schema_name)
        WHEN 'unbound' THEN format('after a restore or an upgrade of the server it is not known which schema is whose; '
                                   'to bind them again: kubectl annotate tenantdatabase NAME --overwrite '
                                   'edumatrixhub.io/rebind=%s', installation)
        WHEN 'replaced' THEN format('it was dropped, and the schema of that name is another one, of role "%s", '
                                    'which is not touched', owner)
        WHEN 'unknown' THEN format('the registry does not know which schema it was; '
                                   'the one of that name belongs to role "%s" and is not touched', owner)
        ELSE 'the schema does not exist; recreate it empty, or restore a backup' END));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._schema_absence(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- The one schema that a tenant whose own is nowhere can be bound to: it belongs to the tenant's owner role, and its
-- comment is the tenant's, so that neither is a stranger's. The name may have been changed.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._bindable_schema(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS oid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT n.oid
    FROM pg_roles AS r
    JOIN pg_namespace AS n ON n.nspowner = r.oid
    WHERE r.rolname = tenant.owner_role AND obj_description(n.oid, 'pg_namespace') = 'tenant ' || tenant.id
      AND (tenant.owner_role_oid IS NULL OR r.oid = tenant.owner_role_oid OR edu_matrix_hub_schema._world_moved())
      AND NOT EXISTS (SELECT FROM pg_namespace AS own WHERE own.oid = tenant.schema_oid
                        AND own.nspname = tenant.schema_name)
    ORDER BY n.nspname = tenant.schema_name DESC, n.oid
    LIMIT 1
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._bindable_schema(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- The tenant's schema, or a refusal that says what became of it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._require_schema(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS oid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    namespace CONSTANT oid := (SELECT n.oid FROM pg_namespace AS n WHERE n.oid = tenant.schema_oid
                                 AND n.nspname = tenant.schema_name);
    absence   jsonb;
BEGIN
    IF namespace IS NULL THEN
        absence := edu_matrix_hub_schema._schema_absence(tenant);
        PERFORM edu_matrix_hub_schema._refuse('schema_missing', absence ->> 'text',
                                              jsonb_build_object('absence', absence));
    END IF;
    RETURN namespace;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._require_schema(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- What is wrong with a role of a tenant, with the statement that mends it, or null: it was renamed, or another role has
-- its name. A role that does not stand under any name is made again by the functions that need it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._role_problem(name text, wanted oid, OUT what text, OUT statement text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    now    CONSTANT text := (SELECT r.rolname::text FROM pg_roles AS r WHERE r.oid = wanted);
    bearer CONSTANT oid := to_regrole(quote_ident(name))::oid;
BEGIN
    IF now <> name THEN
        what := format('role "%s" is called "%s" now', name, now)
                || CASE WHEN bearer IS NOT NULL THEN ', and another role has its name' ELSE '' END;
        statement := CASE WHEN bearer IS NOT NULL
                          THEN format('ALTER ROLE %I RENAME TO %I; ', name, left(name, 50) || '_' || bearer)
                          ELSE '' END
                     || format('ALTER ROLE %I RENAME TO %I', now, name);
    ELSIF now IS NULL AND bearer IS NOT NULL THEN
        what := format('role "%s" is gone, and another role has its name', name);
        statement := format('ALTER ROLE %I RENAME TO %I', name, left(name, 50) || '_' || bearer);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._role_problem(text, oid) FROM PUBLIC;

-- Refuses when one of the tenant's three roles is not the one that its name says.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._require_roles(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    problem record;
BEGIN
    -- Almost always all three are right, which one look tells.
    IF (SELECT count(*) FROM pg_roles AS r
        WHERE (r.oid, r.rolname) IN ((tenant.owner_role_oid, tenant.owner_role),
                                     (tenant.reader_role_oid, tenant.reader_role),
                                     (tenant.writer_role_oid, tenant.writer_role))) = 3 THEN
        RETURN;
    END IF;
    SELECT p.what, p.statement INTO problem
    FROM (VALUES (tenant.owner_role, tenant.owner_role_oid), (tenant.reader_role, tenant.reader_role_oid),
                 (tenant.writer_role, tenant.writer_role_oid)) AS w (name, oid)
    CROSS JOIN LATERAL edu_matrix_hub_schema._role_problem(w.name, w.oid) AS p
    WHERE p.what IS NOT NULL
    LIMIT 1;
    IF problem.what IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('not_repairable',
                                              format('%s; a DBA can run: %s', problem.what, problem.statement));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._require_roles(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- The names of a tenant's logins that stand and are those that were declared. A login that was dropped and made again
-- under its name is another one.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._own_logins(tenant edu_matrix_hub_schema.tenant_schemas) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(array_agg(r.rolname::text ORDER BY r.rolname), '{}')
    FROM unnest(tenant.logins, tenant.login_oids) AS l (name, oid)
    JOIN pg_roles AS r ON r.oid = l.oid AND r.rolname = l.name
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._own_logins(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Which roles bear the names of a tenant's logins and are members of its groups, in the order of the names; null where
-- there is none. So they are found after an upgrade of the registry, or in another world.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._bearing_logins(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS oid[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT ARRAY(SELECT (SELECT r.oid FROM pg_roles AS r
                         WHERE r.rolname = l.name
                           AND EXISTS (SELECT FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
                                       WHERE m.member = r.oid
                                         AND g.rolname IN (tenant.owner_role, tenant.reader_role, tenant.writer_role)))
                 FROM unnest(tenant.logins) WITH ORDINALITY AS l (name, n) ORDER BY l.n)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._bearing_logins(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Notes which roles the logins are that are declared for a tenant. A login that was declared before stays the one that
-- it was, even if another role bears its name by now, until it is taken out and declared again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._remember_logins() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    names CONSTANT text[] := CASE TG_OP WHEN 'UPDATE' THEN OLD.logins ELSE '{}' END;
    known CONSTANT oid[] := CASE TG_OP WHEN 'UPDATE' THEN OLD.login_oids ELSE '{}' END;
BEGIN
    NEW.login_oids := ARRAY(
        SELECT coalesce(known[array_position(names, l.name)], to_regrole(quote_ident(l.name)))
        FROM unnest(NEW.logins) WITH ORDINALITY AS l (name, n) ORDER BY l.n);
    RETURN NEW;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._remember_logins() FROM PUBLIC;
CREATE OR REPLACE TRIGGER remember_logins BEFORE INSERT OR UPDATE OF logins ON edu_matrix_hub_schema.tenant_schemas
    FOR EACH ROW EXECUTE FUNCTION edu_matrix_hub_schema._remember_logins();

-- Rows from before logins had numbers.
UPDATE edu_matrix_hub_schema.tenant_schemas AS t
SET login_oids = edu_matrix_hub_schema._bearing_logins(t)
WHERE cardinality(t.login_oids) <> cardinality(t.logins);

-- The name of the role that may delete from a tenant's tables while its writes are blocked by the quota.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._deleter_name(tenant edu_matrix_hub_schema.tenant_schemas) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT regexp_replace(tenant.owner_role, '_owner$', '') || '_delete'
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._deleter_name(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- The login by which the operator works as a tenant. It is a member of the owner role alone, and open only while such a
-- session is.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._run_name(tenant edu_matrix_hub_schema.tenant_schemas) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT regexp_replace(tenant.owner_role, '_owner$', '') || '_run'
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._run_name(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- Which role it is; null while there is none.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._run_oid(tenant edu_matrix_hub_schema.tenant_schemas) RETURNS oid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT tenant.login_oids[array_position(tenant.logins, edu_matrix_hub_schema._run_name(tenant))]
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._run_oid(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- The names of a tenant's roles that stand and are the tenant's, its logins among them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._own_roles(tenant edu_matrix_hub_schema.tenant_schemas) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    -- In two parts, so that each is looked up in an index: a server has several roles for each of its tenants.
    SELECT coalesce(array_agg(o.name ORDER BY o.name), '{}')
    FROM (SELECT r.rolname::text AS name
          FROM pg_roles AS r
          WHERE r.oid IN (tenant.owner_role_oid, tenant.reader_role_oid, tenant.writer_role_oid)
            AND r.rolname IN (tenant.owner_role, tenant.reader_role, tenant.writer_role)
          UNION
          SELECT r.rolname::text FROM pg_roles AS r
          WHERE r.oid = tenant.deleter_role_oid AND r.rolname = edu_matrix_hub_schema._deleter_name(tenant)
          UNION
          SELECT unnest(edu_matrix_hub_schema._own_logins(tenant))) AS o
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._own_roles(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

-- What is said of databases that share a tenant's roles; nothing when there are none.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._shared_text(databases jsonb) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT CASE WHEN jsonb_array_length(databases) > 0
                THEN '; memberships of its roles, and logins that were not made for its Secrets here, stay as they '
                     'are, since these roles are used in another database of this server too: '
                     || (SELECT string_agg(d.name, ', ' ORDER BY d.name)
                         FROM jsonb_array_elements_text(databases) AS d (name)) ELSE '' END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._shared_text(jsonb) FROM PUBLIC;

-- The other databases of this server in which these roles own a schema, or that one of them owns. Roles belong to
-- the server: a copy of this database has the same tenants with the same roles, and what is done to a role here is
-- done to that one's users.
--
-- Nothing else counts, for any login can make the rest: grants on an object of its own, in every database that it may
-- enter, or a temporary table there as a role that it is a member of. With these a tenant, or a stranger, could keep
-- its logins open.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._other_databases(roles text[]) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    -- Arrays are looked up in an index, where joined tables would be read whole: what roles own is as much
    -- as there are tenants.
    SELECT coalesce(array_agg(d.datname::text ORDER BY d.datname), '{}')
    FROM pg_database AS d
    WHERE d.datname <> current_database()
      -- What an archive is restored in to prove it is ours, and ends with that.
      AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.scratch_databases AS c
                      WHERE c.database_oid = d.oid AND c.name = d.datname)
      AND d.oid = ANY (ARRAY(SELECT s.dbid FROM pg_shdepend AS s
                             WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o'
                               AND s.classid = 'pg_namespace'::regclass
                               AND s.refobjid = ANY (ARRAY(SELECT r.oid FROM pg_roles AS r
                                                           WHERE r.rolname = ANY (roles))))
                       || ARRAY(SELECT b.oid FROM pg_database AS b JOIN pg_roles AS r ON r.oid = b.datdba
                                WHERE r.rolname = ANY (roles)))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._other_databases(text[]) FROM PUBLIC;

-- The schema that holds a backup, or null when it is gone. Refuses when it only has another name, or is
-- not known in this world.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._require_location(backup edu_matrix_hub_schema.schema_backups)
RETURNS oid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    now    CONSTANT text := (SELECT n.nspname::text FROM pg_namespace AS n WHERE n.oid = backup.location_oid);
    bearer CONSTANT text := (SELECT pg_get_userbyid(n.nspowner)::text FROM pg_namespace AS n
                             WHERE n.nspname = backup.location);
BEGIN
    IF now = backup.location THEN
        RETURN backup.location_oid;
    ELSIF edu_matrix_hub_schema._world_moved() THEN
        PERFORM edu_matrix_hub_schema._refuse('schema_missing',
            format('after a restore or an upgrade of the server it is not known which schema is which backup; '
                   'to bind them again: '
                   'kubectl annotate tenantdatabase NAME --overwrite edumatrixhub.io/rebind=%s',
                   (SELECT i.installation_id FROM edu_matrix_hub_schema.installation AS i)));
    ELSIF now IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('schema_missing',
            format('schema "%s" is called "%s" now; a DBA can run: ALTER SCHEMA %I RENAME TO %I', backup.location,
                   now, now, backup.location));
    ELSIF bearer IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('not_owner',
            format('schema "%s" belongs to role "%s" now and is not what was backed up; rename it, and call again',
                   backup.location, bearer));
    END IF;
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._require_location(edu_matrix_hub_schema.schema_backups) FROM PUBLIC;

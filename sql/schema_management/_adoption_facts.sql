-- Why a schema can never be adopted, or null.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._not_adoptable(namespace oid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    RETURN (SELECT CASE
        WHEN edu_matrix_hub_schema._world_moved()
            THEN 'after a restore or an upgrade of the server it is not known yet which schema is whose'
        WHEN n.nspname IN ('public', 'information_schema') OR left(n.nspname, 3) = 'pg_'
            THEN 'it is a schema of PostgreSQL itself'
        WHEN n.oid = 'edu_matrix_hub_schema'::regnamespace THEN 'it is the registry'
        WHEN left(n.nspname, 16) = 'edu_matrix_work_' THEN 'it belongs to a job of the operator'
        WHEN EXISTS (SELECT FROM edu_matrix_hub_schema.schema_backups AS b
                     WHERE b.location = n.nspname::text COLLATE "default" AND b.location_oid = n.oid)
             OR obj_description(n.oid, 'pg_namespace') ~ '^snapshot of tenant [0-9a-f-]{36}$'
             OR n.nspname::text COLLATE "C" ~ '_bak_[0-9]{14}(_[0-9]+)?$' THEN 'it is a backup, or called like one'
        WHEN EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                     WHERE t.schema_oid = n.oid AND t.status <> 'dropped') THEN 'it is the schema of a tenant'
        WHEN EXISTS (SELECT FROM pg_depend AS e
                     WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid AND e.deptype = 'e')
            THEN 'it is part of an extension'
        WHEN obj_description(n.oid, 'pg_namespace') ~ '^tenant [0-9a-f-]{36}$'
             AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_adoptions AS a WHERE a.schema_oid = n.oid)
            THEN format('its comment says that it is a tenant of another installation of the operator; if that is gone '
                        'for good, a DBA can run: COMMENT ON SCHEMA %I IS NULL', n.nspname)
        END
    FROM pg_namespace AS n WHERE n.oid = $1);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._not_adoptable(oid) FROM PUBLIC;

-- What would change if a schema was adopted: {total, owners, more_owners, is_left, statements, more_statements, kept,
-- taken, outside, definers, digest}. `total` counts objects; `owners` are the five that matter most, those first whose
-- objects cannot be given on: {owner, count, kinds: [{kind, count}...], way} (see _way_to_act_as). `statements` are the
-- first five that a DBA has to run, and `is_left` says that there are any. Roles of `kept` keep what they have on the
-- schema, those of `taken` (at most five, PUBLIC among them) lose it. `outside` counts views that read other schemas,
-- with one for example, and `definers` routines that run with their owner's rights: both act as another role then.
--
-- One statement, and what it answers is small however many objects there are. The digest is over all of them, their
-- owners and the grants on the schema, with a secret number of the installation: nobody can make two plans that have
-- the same. What a DBA gives us to carry it out does not change it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._adoption_facts(namespace oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
    RETURN (
        WITH place AS MATERIALIZED (
            SELECT n.oid, n.nspname, n.nspowner, n.nspacl,
                   (SELECT a.owner_role_oid FROM edu_matrix_hub_schema.tenant_adoptions AS a
                    WHERE a.schema_oid = n.oid) AS ours
            FROM pg_namespace AS n WHERE n.oid = namespace
        ), object AS MATERIALIZED (
            SELECT o.classid, o.objid, o.kind, o.owner FROM edu_matrix_hub_schema._adoptable_objects(namespace) AS o
        ), way AS MATERIALIZED (
            SELECT w.owner, edu_matrix_hub_schema._way_to_act_as(w.owner) AS way
            FROM (SELECT o.owner FROM object AS o UNION SELECT p.nspowner FROM place AS p) AS w
        ), role AS MATERIALIZED (
            -- What a DBA gives to our role was of one that gets nothing.
            SELECT w.owner, w.way,
                   CASE WHEN w.way <> 'script' AND w.owner <> current_user::regrole THEN w.owner::bigint
                        ELSE 0 END AS counts
            FROM way AS w
        ), kind AS MATERIALIZED (
            SELECT o.owner, o.kind, count(*) AS n,
                   sum(hashint8extended((o.classid::bigint << 32) + o.objid::bigint,
                                        r.counts # i.fingerprint_key)::numeric) AS one,
                   sum(hashint8extended((o.classid::bigint << 32) + o.objid::bigint,
                                        ~ (r.counts # i.fingerprint_key))::numeric) AS two
            FROM object AS o
            JOIN role AS r ON r.owner = o.owner
            CROSS JOIN edu_matrix_hub_schema.installation AS i
            GROUP BY o.owner, o.kind
        ), owner AS MATERIALIZED (
            SELECT h.*, pg_get_userbyid(h.owner)::text AS name,
                   row_number() OVER (ORDER BY h.way IN ('grant', 'script') DESC, h.n DESC, h.owner) AS place
            FROM (SELECT w.owner, sum(w.n) AS n, min(r.way) AS way,
                         jsonb_agg(jsonb_build_object('kind', w.kind, 'count', w.n) ORDER BY w.n DESC, w.kind) AS kinds
                  FROM (SELECT k.owner, k.kind, k.n FROM kind AS k
                        UNION ALL SELECT p.nspowner, 'schema', 1 FROM place AS p) AS w
                  JOIN role AS r ON r.owner = w.owner
                  CROSS JOIN place AS p
                  WHERE w.owner IS DISTINCT FROM p.ours
                  GROUP BY w.owner) AS h
        ), statement AS MATERIALIZED (
            SELECT row_number() OVER (ORDER BY s.text) AS place, s.text
            FROM (SELECT CASE o.way
                      WHEN 'grant' THEN format('GRANT %I TO %I WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', o.name,
                                               current_user)
                      ELSE edu_matrix_hub_schema._adoption_script(p.nspname) END AS text
                  FROM owner AS o CROSS JOIN place AS p WHERE o.way IN ('grant', 'script')
                  GROUP BY 1) AS s
        ), grantee AS MATERIALIZED (
            SELECT DISTINCT a.grantee AS oid, edu_matrix_hub_schema._grantee(a.grantee) AS name,
                   a.grantee <> 0 AND NOT edu_matrix_hub_schema._is_of_the_operator(a.grantee) AS is_kept
            FROM place AS p CROSS JOIN aclexplode(p.nspacl) AS a
            WHERE a.grantee <> p.nspowner AND a.grantee <> current_user::regrole
              AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_adoptions AS w
                              WHERE w.schema_oid = p.oid AND a.grantee IN (w.reader_role_oid, w.writer_role_oid))
        ), outside AS MATERIALIZED (
            SELECT count(DISTINCT o.objid) AS n, min(c.relname) AS name
            FROM object AS o
            JOIN pg_class AS c ON c.oid = o.objid
            JOIN pg_rewrite AS r ON r.ev_class = c.oid
            JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                               AND d.refclassid = 'pg_class'::regclass
            JOIN pg_class AS t ON t.oid = d.refobjid
            WHERE o.kind IN ('view', 'materialized view') AND t.relnamespace <> namespace
              AND t.relnamespace <> 'pg_catalog'::regnamespace
              AND t.relnamespace <> 'information_schema'::regnamespace
        )
        SELECT jsonb_build_object(
            'total', (SELECT count(*) FROM object),
            'owners', (SELECT coalesce(jsonb_agg(jsonb_build_object('owner', o.name, 'count', o.n, 'kinds', o.kinds,
                                                                    'way', o.way) ORDER BY o.place), '[]')
                       FROM owner AS o WHERE o.place <= 5),
            'more_owners', (SELECT count(*) FROM owner AS o WHERE o.place > 5),
            'is_left', EXISTS (SELECT FROM statement),
            'statements', (SELECT coalesce(jsonb_agg(s.text ORDER BY s.place), '[]') FROM statement AS s
                           WHERE s.place <= 5),
            'more_statements', (SELECT count(*) FROM statement AS s WHERE s.place > 5),
            'kept', (SELECT count(*) FROM grantee AS g WHERE g.is_kept),
            'taken', (SELECT coalesce(jsonb_agg(g.name ORDER BY g.oid), '[]')
                      FROM (SELECT t.* FROM grantee AS t WHERE NOT t.is_kept ORDER BY t.oid LIMIT 5) AS g),
            'outside', (SELECT jsonb_build_object('count', o.n, 'name', o.name) FROM outside AS o WHERE o.n > 0),
            'definers', (SELECT count(*) FROM object AS o JOIN pg_proc AS f ON f.oid = o.objid
                         WHERE o.kind = 'routine' AND f.prosecdef),
            'digest', (SELECT md5(concat_ws('|', i.fingerprint_key, i.installation_id, p.oid, p.nspname, r.counts,
                                            (SELECT string_agg(concat_ws(' ', a.grantee, a.privilege_type,
                                                                         a.is_grantable), ',' ORDER BY a.*)
                                             FROM aclexplode(p.nspacl) AS a
                                             WHERE a.grantee NOT IN (p.nspowner, current_user::regrole)),
                                            k.n, k.one, k.two))
                       FROM place AS p
                       JOIN role AS r ON r.owner = p.nspowner
                       CROSS JOIN edu_matrix_hub_schema.installation AS i
                       CROSS JOIN (SELECT sum(k.n) AS n, sum(k.one) AS one, sum(k.two) AS two FROM kind AS k) AS k))
        FROM place);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._adoption_facts(oid) FROM PUBLIC;

-- What stands under a name that a TenantSchema wants to adopt: {state, ...}, where state is `nothing`, `refused` with
-- `why`, `begun` with `moved` and `total` when this object's adoption is under way, `hand_made` for a tenant without a
-- TenantSchema, with `institution_id`, `access` and `digest`, or `pending` with _adoption_facts().
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._look_at_adoption(schema_name text, owner_uid text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    namespace CONSTANT oid := to_regnamespace(quote_ident(schema_name))::oid;
    tenant    edu_matrix_hub_schema.tenant_schemas;
    adoption  edu_matrix_hub_schema.tenant_adoptions;
    bearer    name;
    why       text;
BEGIN
    SELECT * INTO tenant FROM edu_matrix_hub_schema.tenant_schemas AS t
    WHERE t.schema_name = $1 AND t.status <> 'dropped';
    IF tenant.id IS NOT NULL THEN
        RETURN CASE WHEN tenant.owner_uid IS NULL AND tenant.status IN ('active', 'suspended')
                    THEN jsonb_build_object('state', 'hand_made', 'institution_id', tenant.institution_id,
                                            'access', tenant.access,
                                            'digest', edu_matrix_hub_schema._hand_made_digest(tenant.id)) END;
    ELSIF namespace IS NULL THEN
        SELECT * INTO adoption FROM edu_matrix_hub_schema.tenant_adoptions AS a
        WHERE a.schema_name = $1 AND a.owner_uid = $2 ORDER BY a.began_at DESC LIMIT 1;
        SELECT n.nspname INTO bearer FROM pg_namespace AS n WHERE n.oid = adoption.schema_oid;
        IF bearer IS NOT NULL AND NOT edu_matrix_hub_schema._world_moved() THEN
            RETURN jsonb_build_object('state', 'refused', 'why',
                format('it is called %I since it began; to let it go on, a DBA can run: ALTER SCHEMA %I RENAME TO %I',
                       bearer, bearer, $1));
        END IF;
        RETURN jsonb_strip_nulls(jsonb_build_object('state', 'nothing', 'moved', adoption.moved,
                                                    'total', adoption.total));
    END IF;
    why := edu_matrix_hub_schema._not_adoptable(namespace);
    IF why IS NOT NULL THEN
        RETURN jsonb_build_object('state', 'refused', 'why', why);
    END IF;
    SELECT * INTO adoption FROM edu_matrix_hub_schema.tenant_adoptions AS a WHERE a.schema_oid = namespace;
    IF adoption.owner_uid = $2 THEN
        RETURN jsonb_build_object('state', 'begun', 'moved', adoption.moved, 'total', adoption.total);
    END IF;
    RETURN edu_matrix_hub_schema._adoption_facts(namespace) || '{"state": "pending"}';
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._look_at_adoption(text, text) FROM PUBLIC;

-- What confirms that a tenant which was made by hand becomes a TenantSchema's.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._hand_made_digest(schema_id uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT md5(concat_ws('|', i.fingerprint_key, i.installation_id, $1)) FROM edu_matrix_hub_schema.installation AS i
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._hand_made_digest(uuid) FROM PUBLIC;

-- The line that runs in psql what adoption_statements() lists.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._adoption_script(schema_name text) RETURNS text
LANGUAGE sql IMMUTABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT format('SELECT edu_matrix_hub_schema.adoption_statements(%L) %sgexec', schema_name, chr(92))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._adoption_script(text) FROM PUBLIC;

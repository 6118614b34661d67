-- Where the rights of grantees on the tables and sequences of some tenants are not what the grants of these tenants say
-- (see tenant_grants): one finding and one statement for at most 500 tables, since what a statement costs grows with
-- the square of the objects that it names, and statements for 2,000 of them for a tenant. A further one (`grant_part`)
-- stands for the rest, which is found again. A right on a column counts as a table does.
--
-- A grantee has what the grants say and nothing else. What its owner gives to other roles is the tenant's business, and
-- so is what a role gave on. Only tables of the tenant's owner role count: the rights on others are not that role's to
-- give. The privileges on a sequence follow those of the table that it belongs to. No grant is about columns, so a
-- grantee has no right on a single one; system columns have rights as well. Functions are the owner's to open. What
-- required policies keep from others, as it is new or passes them, is left alone until it is opened (see _cover_plan).
--
-- A grantee that may write can lock a table so that no right on it can be taken. Tables that are locked so come last,
-- in statements of their own, and keep no other waiting.
--
-- Most tables have the same list of grants. So each list is unpacked once, and only those that differ are followed to
-- their tables.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._acl_drift(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, kind text, what text, statement text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET jit = off  -- Compiling this takes longer than running it.
AS $function$
    WITH target AS MATERIALIZED (
        SELECT g.schema_id, g.n::integer AS n, g.tables, g.reading, g.writing
        FROM edu_matrix_hub_schema.tenant_grant_targets AS g
        WHERE g.schema_id = ANY ($1) AND g.reading IS NOT NULL
    ), managed AS MATERIALIZED (
        SELECT m.schema_id, r.oid, r.rolname::text AS name
        FROM (SELECT h.schema_id, h.role_oid FROM edu_matrix_hub_schema.tenant_grantees AS h
              WHERE h.schema_id = ANY ($1)
              UNION SELECT g.schema_id, unnest(g.reading) FROM target AS g) AS m
        JOIN pg_roles AS r ON r.oid = m.role_oid
    ), locked AS MATERIALIZED (
        SELECT DISTINCT l.relation AS oid
        FROM pg_locks AS l
        WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted
          AND l.pid IS DISTINCT FROM pg_backend_pid()
          AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    ), relation AS MATERIALIZED (
        SELECT t.id AS schema_id, t.schema_name, t.owner_role_oid AS owner_oid, c.oid, c.relname,
               c.relkind = 'S' AS is_sequence, c.relacl, k.oid IS NOT NULL AS is_locked,
               CASE WHEN c.relkind = 'S' THEN (
                   SELECT p.relname FROM pg_depend AS o JOIN pg_class AS p ON p.oid = o.refobjid
                   WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.deptype IN ('a', 'i')
                     AND o.refclassid = 'pg_class'::regclass LIMIT 1) END AS of_table
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        JOIN pg_namespace AS s ON s.oid = t.schema_oid AND s.nspname = t.schema_name
        JOIN pg_roles AS w ON w.oid = t.owner_role_oid AND w.rolname = t.owner_role
        JOIN pg_depend AS d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = s.oid
                           AND d.classid = 'pg_class'::regclass
        JOIN pg_class AS c ON c.oid = d.objid AND c.relowner = w.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        LEFT JOIN locked AS k ON k.oid = c.oid
        LEFT JOIN edu_matrix_hub_schema.tenant_row_security AS y ON y.schema_id = t.id
        LEFT JOIN edu_matrix_hub_schema.row_security_objects AS x
          ON x.schema_id = y.schema_id AND x.object_oid = c.oid AND NOT x.is_routine
        WHERE t.id IN (SELECT m.schema_id FROM managed AS m) AND t.status IN ('active', 'suspended')
          AND x.taken IS NULL AND (x.object_oid IS NOT NULL OR c.relkind = 'S' OR y.mode IS DISTINCT FROM 'Required')
    ), named AS (
        SELECT r.oid, array_agg(g.n ORDER BY g.n) AS grants
        FROM target AS g
        CROSS JOIN LATERAL unnest(g.tables) AS w (name)
        JOIN relation AS r ON r.schema_id = g.schema_id AND w.name IN (r.relname, r.of_table)
        GROUP BY r.oid
    ), class AS MATERIALIZED (
        -- Tables that have the same rights, and are to have the same.
        SELECT row_number() OVER () AS class, r.schema_id, r.schema_name, r.owner_oid, r.is_sequence,
               r.is_locked, n.grants,
               CASE WHEN r.relacl IS NOT NULL THEN r.relacl || '{}'::aclitem[] END AS acl, array_agg(r.oid) AS oids
        FROM relation AS r
        LEFT JOIN named AS n ON n.oid = r.oid
        GROUP BY r.schema_id, r.schema_name, r.owner_oid, r.is_sequence, r.is_locked, n.grants, r.relacl
    ), wanted AS (
        SELECT DISTINCT c.class, w.oid, w.privilege
        FROM class AS c
        JOIN target AS g ON g.schema_id = c.schema_id AND (g.tables IS NULL OR g.n = ANY (c.grants))
        CROSS JOIN LATERAL (
            SELECT unnest(g.reading) AS oid, 'SELECT' AS privilege
            UNION ALL
            SELECT unnest(g.writing), p.name
            FROM unnest(CASE WHEN c.is_sequence THEN ARRAY['USAGE']
                             ELSE ARRAY['INSERT', 'UPDATE', 'DELETE'] END) AS p (name)) AS w
    ), held AS (
        SELECT c.class, a.grantee AS oid, a.privilege_type AS privilege, a.is_grantable
        FROM class AS c
        CROSS JOIN LATERAL aclexplode(c.acl) AS a
        WHERE a.grantor = c.owner_oid
          AND a.grantee IN (SELECT m.oid FROM managed AS m WHERE m.schema_id = c.schema_id)
    ), difference AS (
        SELECT class, oid, privilege,
               CASE WHEN held.is_grantable IS NULL THEN 'give' WHEN wanted.class IS NULL THEN 'take'
                    ELSE 'option' END AS change
        FROM wanted
        FULL JOIN held USING (class, oid, privilege)
        WHERE held.is_grantable IS NULL OR wanted.class IS NULL OR held.is_grantable
    ), by_role AS (
        SELECT d.class, d.change, d.oid, string_agg(d.privilege, ', ' ORDER BY d.privilege) AS privileges
        FROM difference AS d
        GROUP BY d.class, d.change, d.oid
    ), by_class AS (
        SELECT b.class, b.change, b.privileges, string_agg(quote_ident(m.name), ', ' ORDER BY m.name) AS roles
        FROM by_role AS b
        JOIN class AS c ON c.class = b.class
        JOIN managed AS m ON m.schema_id = c.schema_id AND m.oid = b.oid
        GROUP BY b.class, b.change, b.privileges
    ), on_column AS (
        -- The server notes for whom a right on a column is, and on which: a table without any costs two looks into an
        -- index, and its columns are not read.
        SELECT r.oid, x.grantee, x.privilege_type AS privilege, a.attnum, a.attname
        FROM relation AS r
        CROSS JOIN LATERAL (
            SELECT FROM (
                SELECT FROM pg_shdepend AS s
                WHERE s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
                  AND s.classid = 'pg_class'::regclass AND s.objid = r.oid AND s.objsubid > 0
                UNION ALL
                SELECT FROM pg_shdepend AS s
                WHERE s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
                  AND s.classid = 'pg_class'::regclass AND s.objid = r.oid AND s.objsubid < 0) AS s
            LIMIT 1) AS noted
        CROSS JOIN LATERAL (SELECT t.attnum, t.attname, t.attacl || '{}'::aclitem[] AS acl FROM pg_attribute AS t
                            WHERE t.attrelid = r.oid AND t.attacl IS NOT NULL AND NOT t.attisdropped
                            OFFSET 0) AS a
        CROSS JOIN LATERAL aclexplode(a.acl) AS x
        WHERE x.grantor = r.owner_oid
          AND x.grantee IN (SELECT m.oid FROM managed AS m WHERE m.schema_id = r.schema_id)
    ), of_role AS (
        SELECT c.oid, c.grantee, sum(c.rights) AS rights,
               string_agg(format('%s (%s)', c.privilege, c.columns), ', ' ORDER BY c.privilege) AS privileges
        FROM (SELECT o.oid, o.grantee, o.privilege, count(*) AS rights,
                     string_agg(quote_ident(o.attname), ', ' ORDER BY o.attnum) AS columns
              FROM on_column AS o GROUP BY o.oid, o.grantee, o.privilege) AS c
        GROUP BY c.oid, c.grantee
    ), object AS (
        SELECT u.*, row_number() OVER (PARTITION BY u.schema_id, u.is_sequence, u.is_locked, u.change, u.privileges,
                                                    u.roles ORDER BY u.relname) - 1 AS n
        FROM (SELECT c.schema_id, c.schema_name, c.is_sequence, c.is_locked, b.change, b.privileges, b.roles, r.relname,
                     1 AS rights, 500 AS most
              FROM by_class AS b
              JOIN class AS c ON c.class = b.class
              CROSS JOIN LATERAL unnest(c.oids) AS o (oid)
              JOIN relation AS r ON r.oid = o.oid
              UNION ALL
              -- A sequence is named as a table where its columns are.
              SELECT r.schema_id, r.schema_name, false, r.is_locked, 'take', o.privileges,
                     string_agg(quote_ident(m.name), ', ' ORDER BY m.name), r.relname, o.rights,
                     greatest(500 / o.rights::integer, 1)
              FROM of_role AS o
              JOIN relation AS r ON r.oid = o.oid
              JOIN managed AS m ON m.schema_id = r.schema_id AND m.oid = o.grantee
              GROUP BY r.oid, r.schema_id, r.schema_name, r.is_locked, o.privileges, r.relname, o.rights) AS u
    ), batch AS (
        SELECT o.schema_id, o.change, o.privileges, o.roles, count(*) AS total, sum(o.rights) AS rights,
               CASE WHEN o.is_sequence THEN 'SEQUENCE' ELSE 'TABLE' END AS objects,
               string_agg(format('%I.%I', o.schema_name, o.relname), ', ' ORDER BY o.n) AS names,
               string_agg(o.relname, ', ' ORDER BY o.n) FILTER (WHERE o.n % o.most < 5) AS first,
               -- What is to be taken is taken first.
               row_number() OVER (PARTITION BY o.schema_id
                                  ORDER BY o.is_locked, o.change = 'give', o.privileges, o.roles, o.n / o.most,
                                           o.is_sequence) AS n
        FROM object AS o
        GROUP BY o.schema_id, o.is_sequence, o.is_locked, o.change, o.privileges, o.roles, o.n / o.most
    ), counted AS (
        SELECT b.*, sum(b.rights) OVER (PARTITION BY b.schema_id ORDER BY b.n) - b.rights >= 2000
                    OR b.n > 200 AS is_late
        FROM batch AS b
    ), part AS (
        SELECT c.*, row_number() OVER (PARTITION BY c.schema_id, c.is_late ORDER BY c.n) AS place FROM counted AS c
    )
    SELECT b.schema_id, CASE WHEN b.is_late THEN 'grant_part' ELSE 'grant' END,
           format('grants: %s on %s %s%s %s',
                  left(b.privileges, 512) || CASE WHEN length(b.privileges) > 512 THEN ' ... (cut)' ELSE '' END,
                  lower(b.objects) || CASE WHEN b.total > 1 THEN 's' ELSE '' END, b.first,
                  CASE WHEN b.total > 5 THEN format(' and %s more', b.total - 5) ELSE '' END,
                  CASE b.change WHEN 'give' THEN 'is missing for ' || b.roles
                                WHEN 'take' THEN 'is with ' || b.roles || ', and no grant says so'
                                ELSE 'may be given on by ' || b.roles END),
           CASE b.change
               WHEN 'give' THEN format('GRANT %s ON %s %s TO %s', b.privileges, b.objects, b.names, b.roles)
               WHEN 'take' THEN format('REVOKE %s ON %s %s FROM %s CASCADE', b.privileges, b.objects, b.names, b.roles)
               ELSE format('REVOKE GRANT OPTION FOR %s ON %s %s FROM %s CASCADE', b.privileges, b.objects, b.names,
                           b.roles) END
    FROM part AS b
    WHERE NOT b.is_late OR b.place = 1
    ORDER BY b.schema_id, b.n
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._acl_drift(uuid[]) FROM PUBLIC;

-- The roles that the grants of some tenants are to, with whether they come into the schema for all its tables, also
-- those that are made later, and may write there.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._granted_roles(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, oid oid, name text, reads_all boolean, writes_all boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT g.schema_id, r.oid, r.rolname::text, bool_or(g.tables IS NULL),
           bool_or(g.tables IS NULL AND coalesce(r.oid = ANY (g.writing), false))
    FROM edu_matrix_hub_schema.tenant_grant_targets AS g
    CROSS JOIN LATERAL unnest(g.reading) AS w (oid)
    JOIN pg_roles AS r ON r.oid = w.oid
    WHERE g.schema_id = ANY ($1)
    GROUP BY g.schema_id, r.oid, r.rolname
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._granted_roles(uuid[]) FROM PUBLIC;

-- One number for each living tenant over everything that only we should change: the owner of its schema and the grants
-- on it, the default privileges of its owner role, the attributes of its roles and their memberships, and of the logins
-- of its credential the attributes, memberships and defaults; and where it gives grants to others, their roles, its
-- tables and what others have on single columns. The survey compares it with the one stored when all was found right,
-- and looks closely only where they differ; so it may notice too much (the order of grants, a foreign member) and must
-- not notice too little. A schema or role that is missing, renamed or replaced lacks its share of the sum. Grants are
-- hashed as text: PostgreSQL's own hash of a grant is a plain sum, and forgets the grant option. What is hashed is
-- largely a tenant's choice, so every hash is seeded with a secret number of this installation: without it no user can
-- compute a change that leaves the sum as it is.
CREATE OR REPLACE VIEW edu_matrix_hub_schema.tenant_fingerprints AS
SELECT fact.schema_id, pg_catalog.sum(fact.hash::pg_catalog.numeric) AS fingerprint
FROM (
    SELECT t.id AS schema_id,
           pg_catalog.hashtextextended(
               coalesce(n.nspacl::pg_catalog.text, ''),
               n.nspowner::pg_catalog.int8 # (SELECT i.fingerprint_key FROM edu_matrix_hub_schema.installation AS i)
           ) AS hash
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
    WHERE t.status IN ('active', 'suspended')
    UNION ALL
    SELECT t.id, pg_catalog.hashint8extended(
               r.oid::pg_catalog.int8,
               (SELECT i.fingerprint_key FROM edu_matrix_hub_schema.installation AS i) # (
               r.rolsuper::integer + 2 * r.rolcreaterole::integer + 4 * r.rolcreatedb::integer
               + 8 * r.rolcanlogin::integer + 16 * r.rolreplication::integer + 32 * r.rolbypassrls::integer
               + 64 * CASE r.rolname WHEN t.owner_role THEN 1 WHEN t.reader_role THEN 2 WHEN t.writer_role THEN 3
                           ELSE 0 END)::pg_catalog.int8)
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    CROSS JOIN LATERAL (VALUES (t.owner_role_oid), (t.reader_role_oid), (t.writer_role_oid)) AS wanted (oid)
    JOIN pg_catalog.pg_roles AS r ON r.oid = wanted.oid
    WHERE t.status IN ('active', 'suspended')
    UNION ALL
    SELECT t.id, pg_catalog.hashint8extended(
               (m.roleid::pg_catalog.int8 << 32) + m.member::pg_catalog.int8,
               (512 + m.admin_option::integer)::pg_catalog.int8
               # (SELECT i.fingerprint_key FROM edu_matrix_hub_schema.installation AS i))
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    CROSS JOIN LATERAL (VALUES (t.owner_role_oid), (t.reader_role_oid), (t.writer_role_oid)) AS wanted (oid)
    JOIN pg_catalog.pg_auth_members AS m ON m.roleid = wanted.oid
    WHERE t.status IN ('active', 'suspended')
    UNION ALL
    SELECT t.id, pg_catalog.hashint8extended(
               (m.roleid::pg_catalog.int8 << 32) + m.member::pg_catalog.int8,
               (514 + m.admin_option::integer)::pg_catalog.int8
               # (SELECT i.fingerprint_key FROM edu_matrix_hub_schema.installation AS i))
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    CROSS JOIN LATERAL (VALUES (t.owner_role_oid), (t.reader_role_oid), (t.writer_role_oid)) AS wanted (oid)
    JOIN pg_catalog.pg_auth_members AS m ON m.member = wanted.oid
    WHERE t.status IN ('active', 'suspended')
    UNION ALL
    SELECT t.id, pg_catalog.hashtextextended(
               d.defaclacl::pg_catalog.text,
               (1024 + pg_catalog.ascii(d.defaclobjtype::pg_catalog.text))::pg_catalog.int8
               # (SELECT i.fingerprint_key FROM edu_matrix_hub_schema.installation AS i))
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    JOIN pg_catalog.pg_default_acl AS d ON d.defaclrole = t.owner_role_oid AND d.defaclnamespace = 0
    WHERE t.status IN ('active', 'suspended')
    UNION ALL
    -- The logins of its credential. What is one's own is found by probes of indexes: as joins of their own these facts
    -- would cost three times as much. Defaults of ours are short; longer ones, which a tenant may give its login, need
    -- not be read to be noticed. Memberships are hashed whole, since some of their columns exist from 16 on.
    SELECT t.id, h.hash
    FROM edu_matrix_hub_schema.tenant_credentials AS c
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = c.schema_id
    CROSS JOIN LATERAL unnest(t.logins, t.login_oids) AS l (name, oid)
    CROSS JOIN (SELECT i.fingerprint_key AS key,
                       (SELECT d.oid FROM pg_catalog.pg_database AS d
                        WHERE d.datname = pg_catalog.current_database()) AS place
                FROM edu_matrix_hub_schema.installation AS i) AS k
    CROSS JOIN LATERAL (
        SELECT pg_catalog.hashtextextended(
                   pg_catalog.concat_ws(
                       '|', r.oid, r.rolname = l.name, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
                       r.rolreplication, r.rolbypassrls, r.rolinherit, r.rolconnlimit,
                       coalesce(r.rolvaliduntil < 'infinity', false)), k.key) AS hash
        FROM pg_catalog.pg_roles AS r WHERE r.oid = l.oid
        UNION ALL
        SELECT pg_catalog.hash_record_extended(m.*, 516 # k.key)
        FROM pg_catalog.pg_auth_members AS m WHERE m.member = l.oid
        UNION ALL
        SELECT pg_catalog.hash_record_extended(m.*, 518 # k.key)
        FROM pg_catalog.pg_auth_members AS m WHERE m.roleid = l.oid
        UNION ALL
        SELECT pg_catalog.hashtextextended(
                   CASE WHEN pg_catalog.pg_column_size(s.setconfig) < 2048 THEN s.setconfig::pg_catalog.text
                        ELSE 'long' END, 520 # k.key)
        FROM pg_catalog.pg_db_role_setting AS s WHERE s.setdatabase = k.place AND s.setrole = l.oid
        UNION ALL
        SELECT pg_catalog.hashtextextended(
                   CASE WHEN pg_catalog.pg_column_size(s.setconfig) < 2048 THEN s.setconfig::pg_catalog.text
                        ELSE 'long' END, 522 # k.key)
        FROM pg_catalog.pg_db_role_setting AS s WHERE s.setdatabase = 0 AND s.setrole = l.oid
    ) AS h
    WHERE t.status IN ('active', 'suspended') AND c.withdrawn_at IS NULL AND l.name IN (c.login, c.previous_login)
    UNION ALL
    -- And what the group of their keeper is a member of, and that of its parent, by which they connect.
    SELECT t.id, pg_catalog.hash_record_extended(
               m.*, 517 # (SELECT i.fingerprint_key FROM edu_matrix_hub_schema.installation AS i))
    FROM edu_matrix_hub_schema.tenant_credentials AS c
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = c.schema_id
    JOIN edu_matrix_hub_schema.role_keepers AS k ON k.n = t.keeper
    JOIN edu_matrix_hub_schema.role_keepers AS p ON p.n = k.parent
    JOIN pg_catalog.pg_auth_members AS m ON m.member IN (k.connect_role_oid, p.connect_role_oid)
    WHERE t.status IN ('active', 'suspended') AND c.withdrawn_at IS NULL
    UNION ALL
    -- The operator's login, where there was a session; what is open while it is in use is no news.
    SELECT t.id, h.hash
    FROM edu_matrix_hub_schema.tenant_sessions AS o
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = o.schema_id
    CROSS JOIN LATERAL unnest(t.logins, t.login_oids) AS l (name, oid)
    CROSS JOIN (SELECT i.fingerprint_key AS key FROM edu_matrix_hub_schema.installation AS i) AS k
    CROSS JOIN LATERAL (
        SELECT pg_catalog.hashtextextended(
                   pg_catalog.concat_ws(
                       '|', r.oid, r.rolname = l.name, r.rolsuper, r.rolcreaterole, r.rolcreatedb,
                       r.rolcanlogin AND o.closed_at IS NOT NULL, r.rolreplication, r.rolbypassrls), k.key) AS hash
        FROM pg_catalog.pg_roles AS r WHERE r.oid = l.oid
        UNION ALL
        SELECT pg_catalog.hash_record_extended(m.*, 542 # k.key)
        FROM pg_catalog.pg_auth_members AS m WHERE m.member = l.oid
        UNION ALL
        SELECT pg_catalog.hash_record_extended(m.*, 544 # k.key)
        FROM pg_catalog.pg_auth_members AS m WHERE m.roleid = l.oid
    ) AS h
    WHERE t.status IN ('active', 'suspended') AND l.name = pg_catalog.regexp_replace(t.owner_role, '_owner$', '_run')
    UNION ALL
    -- What migrations own as themselves, of the first thousand that depends on their logins (see _credential_drift).
    SELECT l.schema_id, pg_catalog.hashint8extended(
               (s.classid::pg_catalog.int8 << 32) + s.objid::pg_catalog.int8,
               524 # (SELECT i.fingerprint_key FROM edu_matrix_hub_schema.installation AS i))
    FROM edu_matrix_hub_schema.migration_logins AS l
    CROSS JOIN LATERAL (SELECT s.classid, s.objid, s.dbid, s.deptype FROM pg_catalog.pg_shdepend AS s
                        WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = l.oid
                        LIMIT 1000) AS s
    WHERE s.deptype = 'o' AND s.dbid = (SELECT d.oid FROM pg_catalog.pg_database AS d
                                        WHERE d.datname = pg_catalog.current_database())
    UNION ALL
    -- Of those who give grants to others: to whom they are at this moment.
    SELECT t.id, pg_catalog.hashtextextended(
               pg_catalog.concat_ws('|', g.n, g.grantee_id, g.reading, g.writing, g.tables IS NULL),
               527 # (SELECT i.fingerprint_key FROM edu_matrix_hub_schema.installation AS i))
    FROM edu_matrix_hub_schema.tenant_grant_targets AS g
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = g.schema_id
    WHERE t.status IN ('active', 'suspended')
    UNION ALL
    -- And their tables. Which transaction wrote a table's row in the catalogue last says all that changed there, and
    -- costs the same however long its list of grants is. A right on a column is in the column's row alone. That others
    -- have some the server notes by the table (pg_shdepend): one without costs two looks into an index, and its columns
    -- are not read. The limit keeps the looks from becoming a join with all that the server notes.
    SELECT t.id, h.hash
    FROM (SELECT g.schema_id FROM edu_matrix_hub_schema.tenant_grants AS g
          UNION SELECT h.schema_id FROM edu_matrix_hub_schema.tenant_grantees AS h) AS giving
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = giving.schema_id
    JOIN pg_catalog.pg_depend AS d
      ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = t.schema_oid
     AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
    CROSS JOIN (SELECT i.fingerprint_key AS key,
                       (SELECT d.oid FROM pg_catalog.pg_database AS d
                        WHERE d.datname = pg_catalog.current_database()) AS place
                FROM edu_matrix_hub_schema.installation AS i) AS k
    CROSS JOIN LATERAL (
        SELECT pg_catalog.hashint8extended(
                   (c.oid::pg_catalog.int8 << 32) + c.xmin::pg_catalog.text::pg_catalog.int8, 526 # k.key) AS hash
        UNION ALL
        SELECT pg_catalog.hashtextextended(pg_catalog.concat_ws('|', c.oid, a.attnum, a.xmin), 546 # k.key)
        FROM (SELECT FROM (
                  SELECT FROM pg_catalog.pg_shdepend AS s
                  WHERE s.dbid = k.place AND s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND s.objid = c.oid AND s.objsubid > 0
                  UNION ALL
                  SELECT FROM pg_catalog.pg_shdepend AS s
                  WHERE s.dbid = k.place AND s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND s.objid = c.oid AND s.objsubid < 0) AS s
              LIMIT 1) AS noted
        CROSS JOIN LATERAL (SELECT a.attnum, a.xmin FROM pg_catalog.pg_attribute AS a
                            WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped
                            OFFSET 0) AS a
    ) AS h
    WHERE t.status IN ('active', 'suspended')
    UNION ALL
    -- What row-level security is about, where it is asked for, and found by probes of indexes as well: tables, views
    -- and routines with their owners and grants, policies, columns that policies compare, what is under a parent, and
    -- what views are made of.
    SELECT t.id, h.hash
    FROM edu_matrix_hub_schema.tenant_row_security AS s
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = s.schema_id AND t.status IN ('active', 'suspended')
    CROSS JOIN (SELECT i.fingerprint_key AS key FROM edu_matrix_hub_schema.installation AS i) AS k
    CROSS JOIN LATERAL (
        SELECT pg_catalog.hashtextextended(pg_catalog.concat_ws('|', s.mode, s.digest, s.uncovered_count), 528 # k.key)
        UNION ALL
        SELECT x.hash
        FROM pg_catalog.pg_depend AS d
        JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        CROSS JOIN LATERAL (
            SELECT pg_catalog.hashtextextended(
                       pg_catalog.concat_ws('|', c.oid, c.relname, c.relkind, c.relowner, c.relrowsecurity,
                                            c.relforcerowsecurity, c.relacl, c.reloptions), 530 # k.key) AS hash
            UNION ALL
            -- A policy that is altered is another version of its row; to read what it says costs much more.
            SELECT pg_catalog.hashtextextended(pg_catalog.concat_ws('|', l.oid, l.xmin), 532 # k.key)
            FROM pg_catalog.pg_policy AS l WHERE l.polrelid = c.oid
            UNION ALL
            SELECT pg_catalog.hashtextextended(pg_catalog.concat_ws('|', a.attrelid, a.attnum, a.atttypid), 534 # k.key)
            FROM pg_catalog.jsonb_array_elements(s.policies) AS p (value)
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = p.value ->> 'column'
            UNION ALL
            SELECT pg_catalog.hashtextextended(pg_catalog.concat_ws('|', i.inhrelid, i.inhparent), 536 # k.key)
            FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid
            UNION ALL
            SELECT pg_catalog.hashtextextended(pg_catalog.concat_ws('|', u.oid, u.xmin, u.ctid), 538 # k.key)
            FROM pg_catalog.pg_rewrite AS u WHERE u.ev_class = c.oid
        ) AS x
        WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = t.schema_oid
          AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        UNION ALL
        SELECT pg_catalog.hashtextextended(
                   pg_catalog.concat_ws('|', f.oid, f.prosecdef, f.proowner,
                                        CASE WHEN pg_catalog.pg_column_size(f.proacl) < 2048
                                             THEN f.proacl::pg_catalog.text ELSE 'long' END), 540 # k.key)
        FROM pg_catalog.pg_depend AS d
        JOIN pg_catalog.pg_proc AS f ON f.oid = d.objid
        WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = t.schema_oid
          AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
    ) AS h (hash)
) AS fact
GROUP BY fact.schema_id;

-- One number for each living tenant over everything that only we should change: the owner of its schema and the grants
-- on it, the default privileges of its owner role, the attributes of its roles and their memberships. The survey
-- compares it with the one stored when all was found right, and looks closely only where they differ; so it may notice
-- too much (the order of grants, a foreign member) and must not notice too little. A schema or role that is missing,
-- renamed or replaced lacks its share of the sum. Grants are hashed as text: PostgreSQL's own hash of a grant is a
-- plain sum, and forgets the grant option. What is hashed is largely a tenant's choice, so every hash is seeded with a
-- secret number of this installation: without it no user can compute a change that leaves the sum as it is.
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
) AS fact
GROUP BY fact.schema_id;

-- Who is a member of the writer or the owner role of a tenant whose writes are taken. It is a part of _drift, whose
-- columns it has. A membership that is ours to end is ended by a repair, which remembers it. From 16 on one that
-- another role gave is not: the statements let the operator give it in that role's place, so that it is taken and given
-- back like all others from then on. At most twenty of these are told.
--
-- Memberships of roles that another database uses too are left as they are. That there are some is one row without
-- text then, `shared`, so that the tenant's fingerprint is not stored as right and the survey looks again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._blocked_drift(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, kind text, what text, repairable boolean, statement text, role_name text,
               other_role text, helper integer)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH member AS MATERIALIZED (
        SELECT t.id, t.keeper, k.rolname AS keeper_name, m.*, g.rolname AS grantor_name,
               current_setting('server_version_num')::integer < 160000 OR g.rolname = current_user
                   OR EXISTS (SELECT FROM edu_matrix_hub_schema.role_keepers AS o WHERE o.role_oid = m.grantor)
                   AS is_ours,
               edu_matrix_hub_schema._other_databases(edu_matrix_hub_schema._own_roles(t)) <> '{}' AS is_shared
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        CROSS JOIN LATERAL edu_matrix_hub_schema._writing_members(t) AS m
        LEFT JOIN pg_roles AS g ON g.oid = m.grantor
        LEFT JOIN edu_matrix_hub_schema.role_keepers AS h ON h.n = t.keeper
        LEFT JOIN pg_roles AS k ON k.oid = h.role_oid OR t.keeper IS NULL AND k.rolname = current_user
        WHERE t.id = ANY ($1) AND t.taken_members IS NOT NULL AND t.status IN ('active', 'suspended')
    )
    SELECT f.id, 'writers', format('writes are taken, and others are members of %s: %s%s',
                                   string_agg(DISTINCT quote_ident(f.role_name), ', '),
                                   string_agg(quote_ident(f.member), ', ') FILTER (WHERE f.n <= 5),
                                   CASE WHEN count(*) > 5 THEN format(' and %s more', count(*) - 5) ELSE '' END),
           true,
           string_agg(format('REVOKE %I FROM %I', f.role_name, f.member), '; ') FILTER (WHERE f.n <= 5), NULL, NULL,
           f.keeper
    FROM (SELECT m.*, row_number() OVER (PARTITION BY m.id ORDER BY m.role, m.member) AS n
          FROM member AS m WHERE m.is_ours AND NOT m.is_shared) AS f
    GROUP BY f.id, f.keeper
    UNION ALL
    SELECT f.id, 'writer', format('"%s" can write while writes are taken, since "%s" made it a member of "%s"',
                                  f.member, f.grantor_name, f.role_name), false,
           format('GRANT %1$I TO %2$I WITH ADMIN %3$s, INHERIT %4$s, SET %5$s GRANTED BY %6$I; '
                  'REVOKE %1$I FROM %2$I GRANTED BY %7$I', f.role_name, f.member, f.admin::text, f.inherit::text,
                  f.set::text, f.keeper_name, f.grantor_name), NULL, NULL, f.keeper
    FROM (SELECT m.*, row_number() OVER (PARTITION BY m.id ORDER BY m.role, m.member) AS n
          FROM member AS m WHERE NOT m.is_ours AND NOT m.is_shared) AS f
    WHERE f.n <= 20
    UNION ALL
    SELECT DISTINCT m.id, 'shared', NULL, false, NULL, NULL, NULL, NULL::integer FROM member AS m WHERE m.is_shared
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._blocked_drift(uuid[]) FROM PUBLIC;

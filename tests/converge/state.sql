-- Everything that is one tenant's, as one document: its row, schema, roles, default privileges, tables and backups.
-- Times, ids and figures of the survey are left out, and so is who keeps the roles.
WITH tenant AS (
    SELECT * FROM edu_matrix_hub_schema.tenant_schemas WHERE owner_uid = '$uid' ORDER BY created_at DESC LIMIT 1
)
SELECT jsonb_pretty(jsonb_build_object(
    'rows', (SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE owner_uid = '$uid'),
    'row', (SELECT jsonb_build_object('status', t.status, 'access', t.access, 'config', t.config,
                                      'quota', t.quota_limit, 'logins', t.logins, 'closed', t.closed_logins)
            FROM tenant AS t),
    'schema', (SELECT jsonb_build_object('owner', n.nspowner::regrole,
                                         'grants', (SELECT array_agg(a::text ORDER BY a::text)
                                                    FROM unnest(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a))
               FROM pg_namespace AS n WHERE n.nspname = '$name'),
    'roles', (SELECT jsonb_agg(jsonb_build_object('name', r.rolname,
                                                  'is', concat_ws(' ', r.rolsuper, r.rolinherit, r.rolcreaterole,
                                                                  r.rolcreatedb, r.rolcanlogin, r.rolreplication,
                                                                  r.rolbypassrls))
                               ORDER BY r.rolname)
              FROM tenant AS t JOIN pg_roles AS r ON r.rolname IN (t.owner_role, t.reader_role, t.writer_role)),
    'memberships', (SELECT jsonb_agg(concat(m.roleid::regrole, ' in ', m.member::regrole)
                                     ORDER BY m.roleid::regrole::text, m.member::regrole::text)
                    FROM tenant AS t
                    JOIN pg_auth_members AS m ON true
                    JOIN pg_roles AS r ON r.oid = m.member
                                      AND r.rolname IN (t.owner_role, t.reader_role, t.writer_role)),
    'defaults', (SELECT jsonb_agg(jsonb_build_object('of', d.defaclobjtype,
                                                     'grants', (SELECT array_agg(a::text ORDER BY a::text)
                                                                FROM unnest(d.defaclacl) AS a))
                                  ORDER BY d.defaclobjtype)
                 FROM tenant AS t
                 JOIN pg_roles AS r ON r.rolname = t.owner_role
                 JOIN pg_default_acl AS d ON d.defaclrole = r.oid),
    'tables', (SELECT jsonb_agg(concat(c.relname, ' of ', c.relowner::regrole) ORDER BY c.relname)
               FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE n.nspname = '$name' AND c.relkind = 'r'),
    'backups', (SELECT jsonb_agg(jsonb_build_object('method', b.method, 'state', b.state, 'there', n.oid IS NOT NULL,
                                                    'tables', b.table_count, 'rows', b.row_count)
                                 ORDER BY b.method, b.state)
                FROM tenant AS t
                JOIN edu_matrix_hub_schema.schema_backups AS b ON b.schema_id = t.id
                LEFT JOIN pg_namespace AS n ON n.nspname = b.location),
    'jobs', (SELECT jsonb_agg(concat(j.kind, ' ', j.state) ORDER BY j.kind, j.state)
             FROM tenant AS t JOIN edu_matrix_hub_schema.schema_jobs AS j ON j.schema_id = t.id),
    'leftovers', (SELECT jsonb_agg(n.nspname ORDER BY n.nspname)
                  FROM pg_namespace AS n
                  WHERE starts_with(n.nspname, '$name\_')
                    AND n.nspname NOT IN (SELECT b.location FROM edu_matrix_hub_schema.schema_backups AS b
                                          WHERE b.location IS NOT NULL))
))

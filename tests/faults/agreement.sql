-- What in the database does not fit together, one line each. $prefix begins the name of every schema of the test.
WITH tenant AS (
    SELECT t.*, t.status IN ('active', 'suspended', 'released') AS lives FROM edu_matrix_hub_schema.tenant_schemas AS t
), kept AS (
    SELECT b.* FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.state = 'complete'
), own AS (
    SELECT t.id, t.lives, r.name
    FROM edu_matrix_hub_schema.tenant_schemas AS row
    JOIN tenant AS t ON t.id = row.id, unnest(edu_matrix_hub_schema._own_roles(row)) AS r (name)
), role AS (
    SELECT t.id, t.lives, t.schema_name, r.name
    FROM tenant AS t, unnest(ARRAY[t.owner_role, t.reader_role, t.writer_role]) AS r (name)
)
SELECT format('tenant %s is left as %s', t.schema_name, t.status) FROM tenant AS t WHERE t.status = 'dropping'
UNION ALL
SELECT format('tenant %s is %s and its schema is not there', t.schema_name, t.status)
FROM tenant AS t WHERE t.lives AND to_regnamespace(quote_ident(t.schema_name)) IS NULL
UNION ALL
SELECT format('tenant %s lives and its role %s is not there', r.schema_name, r.name)
FROM role AS r WHERE r.lives AND to_regrole(quote_ident(r.name)) IS NULL
UNION ALL
SELECT format('backup %s (%s) of %s is left as %s: %s', b.id, b.method, b.schema_name, b.state, b.error)
FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.state IN ('requested', 'running', 'purging')
UNION ALL
SELECT format('backup %s of %s is complete and not there', b.location, b.schema_name)
FROM kept AS b WHERE to_regnamespace(quote_ident(b.location)) IS NULL
UNION ALL
SELECT format('job %s of %s is left as %s, attempt %s: %s', j.kind, j.backup_id, j.state, j.attempt, j.error)
FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.state IN ('requested', 'running')
UNION ALL
SELECT format('schema %s belongs to no tenant', n.nspname)
FROM pg_namespace AS n
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public', 'edu_matrix_hub_schema')
  AND NOT EXISTS (SELECT FROM tenant AS t WHERE t.lives AND t.schema_name = n.nspname)
  AND NOT EXISTS (SELECT FROM kept AS b WHERE b.location = n.nspname)
UNION ALL
SELECT format('role %s belongs to no tenant', p.rolname)
FROM pg_roles AS p
WHERE starts_with(p.rolname, '$prefix')
  AND NOT EXISTS (SELECT FROM own AS r
                  WHERE r.name = p.rolname
                    AND (r.lives OR EXISTS (SELECT FROM kept AS b WHERE b.schema_id = r.id AND b.method = 'SetAside')));

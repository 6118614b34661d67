//! What `sql/verify/tables.sql`, `columns.sql`, `columns_of_work.sql` and `views.sql` notice: they name everything that is taken from a table or view of the registry.

use std::fs;

use crate::support::{Database, with_database};

/// What stands, as (relation, kind, name) and a statement that takes it away or changes it. Columns of views cannot be dropped.
const TAKEN: &str = "
    SELECT c.relname::text, taken.kind, taken.name, taken.statement
    FROM pg_class AS c
    CROSS JOIN LATERAL (
        SELECT 'column' AS kind, a.attname::text AS name, change.statement
        FROM pg_attribute AS a
        CROSS JOIN LATERAL (VALUES
            (c.relkind = 'r', format('ALTER TABLE %s DROP COLUMN %I CASCADE', c.oid::regclass, a.attname)),
            (c.relkind = 'v', format('ALTER VIEW %s RENAME COLUMN %I TO another', c.oid::regclass, a.attname)),
            (a.attnotnull AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)),
             format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', c.oid::regclass, a.attname)),
            (a.atthasdef, format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', c.oid::regclass, a.attname)),
            (a.attidentity <> '', format('ALTER TABLE %s ALTER COLUMN %I DROP IDENTITY', c.oid::regclass, a.attname))
        ) AS change (possible, statement)
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND change.possible
        UNION ALL
        SELECT 'constraint', k.conname, format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', c.oid::regclass, k.conname)
        FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype <> 'n'
        UNION ALL
        SELECT 'constraint', k.conname, format('UPDATE pg_constraint SET convalidated = false WHERE oid = %s', k.oid)
        FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'c'
        UNION ALL
        SELECT 'index', i.indexrelid::regclass::text, format('DROP INDEX %s', i.indexrelid::regclass)
        FROM pg_index AS i
        WHERE i.indrelid = c.oid AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid)
        UNION ALL
        SELECT 'trigger', t.tgname, change.statement
        FROM pg_trigger AS t
        CROSS JOIN LATERAL (VALUES (format('DROP TRIGGER %I ON %s', t.tgname, c.oid::regclass)),
                                   (format('ALTER TABLE %s DISABLE TRIGGER %I', c.oid::regclass, t.tgname))) AS change (statement)
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
        UNION ALL
        SELECT CASE c.relkind WHEN 'r' THEN 'table' ELSE 'view' END, '', change.statement
        FROM (VALUES
            (true, format('DROP %s %s CASCADE', CASE c.relkind WHEN 'r' THEN 'TABLE' ELSE 'VIEW' END, c.oid::regclass)),
            (true, format('GRANT SELECT ON %s TO PUBLIC', c.oid::regclass)),
            (true, format('ALTER TABLE %s OWNER TO postgres', c.oid::regclass)),
            (c.relkind = 'r', format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', c.oid::regclass)),
            (c.relkind = 'r', format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', c.oid::regclass))
        ) AS change (possible, statement)
        WHERE change.possible
    ) AS taken
    WHERE c.relnamespace = 'edu_matrix_hub_schema'::regnamespace AND c.relkind IN ('r', 'v')
    ORDER BY 1, 2, 3, 4";

/// What the files say after a statement, which is undone.
async fn told(database: &Database, verify: &[String], statement: &str) -> String {
    database.admin.batch_execute("BEGIN; SET LOCAL search_path = edu_matrix_hub_schema").await.unwrap();
    database.admin.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let mut told = String::new();
    for file in verify {
        database.admin.batch_execute("SAVEPOINT before").await.unwrap();
        if let Err(error) = database.admin.batch_execute(file).await {
            told += error.as_db_error().unwrap().message();
            told += "\n";
        }
        database.admin.batch_execute("ROLLBACK TO SAVEPOINT before").await.unwrap();
    }
    database.admin.batch_execute("ROLLBACK").await.unwrap();
    told
}

#[tokio::test]
async fn whatever_is_taken_from_a_table_is_noticed() {
    with_database(async |database| {
        database.tenant("kept").await;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/verify");
        let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).unwrap();
        database.admin.batch_execute(&read("_columns.sql")).await.unwrap();
        let verify = ["tables.sql", "columns.sql", "columns_of_work.sql", "views.sql"].map(read);
        assert_eq!(told(&database, &verify, "SELECT").await, "");
        let (mut seen, mut missed) = (0, Vec::new());
        for row in database.admin.query(TAKEN, &[]).await.unwrap() {
            let [relation, kind, name, statement] = [0, 1, 2, 3].map(|column| row.get::<_, String>(column));
            let wanted = match name.as_str() {
                "" => format!("{kind} {relation} "),
                name => format!("{kind} {relation}.{} ", name.rsplit('.').next().unwrap()),
            };
            if !told(&database, &verify, &statement).await.lines().any(|line| line.starts_with(&wanted)) {
                missed.push(format!("{wanted}after {statement}"));
            }
            seen += 1;
        }
        assert!(missed.is_empty(), "tables.sql and columns*.sql do not tell of\n{}", missed.join("\n"));
        assert!(seen > 300, "{seen}");
        for (statement, wanted) in [
            ("GRANT USAGE ON SCHEMA edu_matrix_hub_schema TO PUBLIC", "is open to PUBLIC"),
            ("DELETE FROM registry_locks WHERE name = 'survey'", "lacks rows: survey"),
            ("DELETE FROM tenant_locks WHERE kind = 'access'", "lacks rows of tenants: "),
        ] {
            let told = told(&database, &verify, statement).await;
            assert!(told.contains(wanted), "{statement}: {told}");
        }
    })
    .await;
}

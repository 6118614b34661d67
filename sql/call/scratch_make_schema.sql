-- The statement that makes the schema of a name ($1). It is asked for in the session that runs it.
SELECT pg_catalog.format('CREATE SCHEMA %I', $1::pg_catalog.text)

-- How many bytes a database has on disk by now.
SELECT pg_catalog.to_jsonb(pg_catalog.pg_database_size($1::pg_catalog.text::pg_catalog.name))

-- The number of the schema of a name ($1). Everything is named in full, for this runs among what a tenant made.
SELECT n.oid::pg_catalog.int8 FROM pg_catalog.pg_namespace AS n
WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name

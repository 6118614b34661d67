-- The schema that was restored ($2), in a session that has to be the owner role ($1) in the scratch database ($3).
-- Everything is named in full, for this runs among what a tenant made.
SELECT n.oid::pg_catalog.int8
FROM pg_catalog.pg_namespace AS n
WHERE n.nspname OPERATOR(pg_catalog.=) $2::pg_catalog.text::pg_catalog.name
  AND CURRENT_USER OPERATOR(pg_catalog.=) $1::pg_catalog.text
  AND pg_catalog.current_database() OPERATOR(pg_catalog.=) $3::pg_catalog.text::pg_catalog.name

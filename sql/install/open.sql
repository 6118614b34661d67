-- Opens the installing transaction: one installation at a time in a database, and what the files that follow are to know.
-- The values are put in as literals by the operator; the names are those of psql's variables.
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('edu_matrix_hub_schema/install', 0));
SELECT pg_catalog.set_config('edu_matrix.owner_role', :'owner_role', true);
SELECT pg_catalog.set_config('edu_matrix.functions_version', :'functions_version', true);
SELECT pg_catalog.set_config('edu_matrix.functions_checksum', :'functions_checksum', true);
SELECT pg_catalog.set_config('edu_matrix.contract', :'contract', true);

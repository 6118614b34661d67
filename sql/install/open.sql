-- Opens the installing transaction, and says what the files that follow are to know. The values are put in as literals
-- by the operator; the names are those of psql's variables.
--
-- Before anything else it leaves the search_path that database and login set: a superuser may run this, and an operator
-- that the database's owner planted would run as that superuser.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Two installations at once had better wait for each other. Nothing of ours is there yet that could be locked, and any
-- session can hold an advisory key, so this waits for the key for a while and then goes on without it. One of two
-- installations then fails where they meet, and is rolled back whole; from the registry's first file on, its lane lock
-- keeps them apart.
DO $courtesy$
BEGIN
    FOR attempt IN 1..100 LOOP
        EXIT WHEN pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('edu_matrix_hub_schema/install', 0));
        PERFORM pg_catalog.pg_sleep(0.1);
    END LOOP;
END
$courtesy$;
SELECT pg_catalog.set_config('edu_matrix.owner_role', :'owner_role', true);
SELECT pg_catalog.set_config('edu_matrix.functions_version', :'functions_version', true);
SELECT pg_catalog.set_config('edu_matrix.functions_checksum', :'functions_checksum', true);
SELECT pg_catalog.set_config('edu_matrix.contract', :'contract', true);

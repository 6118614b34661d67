-- From here on the owner role acts, so that everything that follows belongs to it.
SELECT pg_catalog.set_config('role', pg_catalog.current_setting('edu_matrix.owner_role'), true);
SELECT pg_catalog.set_config('search_path', 'pg_catalog, edu_matrix_hub_schema, pg_temp', true);
SET LOCAL check_function_bodies = on;

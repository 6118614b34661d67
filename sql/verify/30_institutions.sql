-- Raises unless table institutions stands with its columns, belongs to the owner of the registry, has row-level security without
-- FORCE, and no other role may touch it.
DO $verify$
DECLARE
    registry record;
    problem  text;
BEGIN
    SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relowner, c.relacl, n.nspowner INTO registry
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
    WHERE n.nspname = 'edu_matrix_hub_schema' AND c.relname = 'institutions' AND c.relkind = 'r';
    IF registry.oid IS NULL THEN
        RAISE EXCEPTION 'table institutions is missing';
    ELSIF registry.relowner <> registry.nspowner THEN
        RAISE EXCEPTION 'table institutions does not belong to the owner of the registry';
    ELSIF NOT registry.relrowsecurity OR registry.relforcerowsecurity THEN
        RAISE EXCEPTION 'table institutions needs row-level security, and not FORCE';
    ELSIF EXISTS (SELECT FROM aclexplode(registry.relacl) AS a WHERE a.grantee <> registry.relowner) THEN
        RAISE EXCEPTION 'others than its owner have privileges on table institutions';
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY[
        'id', 'name', 'status', 'created_at', 'updated_at']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                      WHERE a.attrelid = registry.oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'table institutions lacks columns: %', problem;
    END IF;
END
$verify$;

-- Raises unless view tenant_fingerprints stands with its columns; it belongs to
-- the owner of the registry, and no other role may touch it.
DO $verify$
DECLARE
    registry record;
    problem  text;
BEGIN
    SELECT c.oid, c.relnamespace, c.relowner, c.relacl, n.nspowner INTO registry
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
    WHERE n.nspname = 'edu_matrix_hub_schema' AND c.relname = 'tenant_fingerprints' AND c.relkind = 'v';
    IF registry.oid IS NULL THEN
        RAISE EXCEPTION 'view tenant_fingerprints is missing';
    ELSIF registry.relowner <> registry.nspowner THEN
        RAISE EXCEPTION 'view tenant_fingerprints does not belong to the owner of the registry';
    ELSIF EXISTS (SELECT FROM aclexplode(registry.relacl) AS a WHERE a.grantee <> registry.relowner) THEN
        RAISE EXCEPTION 'others than its owner have privileges on view tenant_fingerprints';
    END IF;
    SELECT string_agg(w.name, ', ') INTO problem
    FROM unnest(ARRAY['schema_id', 'fingerprint']) AS w (name)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = registry.oid AND a.attname = w.name AND NOT a.attisdropped);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'view tenant_fingerprints lacks columns: %', problem;
    END IF;
END
$verify$;

-- A free name for a backup of a schema: the schema's name cut to 41 bytes, `_bak_`, the moment in UTC, and `_n` when
-- that is taken. No schema, no role, no tenant and no backup may have it: a schema that is called like a role comes
-- first in that role's default search_path.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._backup_location(schema_name text, at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    stem      text := schema_name;
    candidate text;
BEGIN
    WHILE octet_length(stem) > 41 LOOP
        stem := left(stem, length(stem) - 1);
    END LOOP;
    stem := stem || '_bak_' || to_char(at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS');
    FOR n IN 1..99 LOOP
        candidate := stem || CASE WHEN n = 1 THEN '' ELSE '_' || n END;
        IF NOT EXISTS (SELECT FROM pg_namespace AS s WHERE s.nspname = candidate)
           AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = candidate)
           AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                           WHERE t.schema_name = candidate AND t.status <> 'dropped')
           AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.location = candidate) THEN
            RETURN candidate;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'all names that begin with "%" are taken', stem;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._backup_location(text, timestamptz) FROM PUBLIC;

-- What is wrong with a schema's name, in words that follow `cannot create schema "x": `, or null when it may be used.
-- Allowed are plain lower-case identifiers and inst_<uuid>. Names of the system, of the registry, of sandboxes (see
-- _open_sandbox) and of backups are kept free. Whether a role is called so is for the caller to see.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._schema_name_problem(schema_name text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    RETURN CASE
        WHEN coalesce(schema_name, '') = '' THEN 'a name is needed'
        WHEN octet_length(schema_name) > 63 THEN format('the name has %s bytes, and PostgreSQL keeps only 63',
                                                        octet_length(schema_name))
        WHEN NOT (schema_name COLLATE "C" ~ '^[a-z_][a-z0-9_]*$'
                  OR schema_name COLLATE "C" ~ '^inst_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$') THEN
            'the name must consist of lower-case letters, digits and _, must not begin with a digit, or be inst_<uuid>'
        WHEN left(schema_name, 3) = 'pg_' THEN 'names that begin with pg_ belong to PostgreSQL'
        WHEN left(schema_name, 16) = 'edu_matrix_work_' THEN
            'names that begin with edu_matrix_work_ belong to jobs of the operator'
        WHEN schema_name IN ('public', 'information_schema', 'edu_matrix_hub_schema') THEN 'the name is reserved'
        WHEN schema_name COLLATE "C" ~ '_bak_[0-9]{14}(_[0-9]+)?$' THEN 'names that end like this belong to backups'
    END;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._schema_name_problem(text) FROM PUBLIC;

-- Raises unless the three roles stand on which the installation in this database rests: the owner role, which cannot
-- log in, makes roles and may create schemas and let logins connect here, and the operator and the admin role named
-- after it, which cannot log in either. They are found through the registry schema.
DO $verify$
DECLARE
    owner_name CONSTANT text := (SELECT pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace AS n
                                 WHERE n.nspname = 'edu_matrix_hub_schema');
    stem       CONSTANT text := regexp_replace(owner_name, '_owner$', '');
    problem    text;
BEGIN
    SELECT CASE
        WHEN o.rolname IS NULL THEN 'schema edu_matrix_hub_schema is missing'
        WHEN o.rolsuper OR o.rolcanlogin THEN format('role "%s" is a superuser or may log in', owner_name)
        WHEN NOT o.rolcreaterole OR NOT o.rolinherit THEN format('role "%s" lacks CREATEROLE or INHERIT', owner_name)
        WHEN NOT has_database_privilege(o.oid, current_database(), 'CREATE') THEN
            format('role "%s" may not create schemas here', owner_name)
        WHEN NOT has_database_privilege(o.oid, current_database(), 'CONNECT WITH GRANT OPTION') THEN
            format('role "%s" may not let logins connect here', owner_name)
        WHEN a.rolname IS NULL THEN format('role "%s" is missing', w.name)
        WHEN a.rolsuper OR a.rolcanlogin OR a.rolcreaterole THEN
            format('role "%s" may do more than call functions', w.name)
        WHEN NOT has_schema_privilege(a.oid, 'edu_matrix_hub_schema', 'USAGE') THEN
            format('role "%s" may not use the registry schema', w.name)
        END INTO problem
    FROM (VALUES (stem || '_admin'), (left(stem, 54) || '_operator')) AS w (name)
    LEFT JOIN pg_catalog.pg_roles AS o ON o.rolname = owner_name
    LEFT JOIN pg_catalog.pg_roles AS a ON a.rolname = w.name
    ORDER BY 1 NULLS LAST LIMIT 1;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem;
    END IF;
END
$verify$;

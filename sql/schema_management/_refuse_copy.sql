-- Refuses when another database of this server is a copy of this one, or this one is a copy of it: their tenants have
-- the same roles, and what one operator does to a role affects the users of the other. What can be seen of it without
-- superuser is what roles own in other databases: a registry schema of the same identifier is in a database that was
-- made from this one as a template, or the other way round; and no other installation has anything that belongs to our
-- tenants' owner roles.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._refuse_copy() RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    copies text;
BEGIN
    SELECT string_agg(DISTINCT quote_ident(d.datname), ', ') INTO copies
    FROM pg_shdepend AS s
    JOIN pg_database AS d ON d.oid = s.dbid AND d.datname <> current_database()
     AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.scratch_databases AS c
                      WHERE c.database_oid = d.oid AND c.name = d.datname)
    WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o' AND s.classid = 'pg_namespace'::regclass
      AND (s.refobjid = current_user::regrole AND s.objid = 'edu_matrix_hub_schema'::regnamespace
           OR s.refobjid IN (SELECT r.oid FROM edu_matrix_hub_schema.tenant_schemas AS t
                             JOIN pg_roles AS r ON r.rolname = t.owner_role
                             WHERE t.status <> 'dropped'));
    IF copies IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('copy',
            format('another database of this server holds the same installation (%s), and both would act on the same '
                   'roles; drop the one that is not '
                   'meant any more, or move the copy to a server of its own, and it can be taken over', copies));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._refuse_copy() FROM PUBLIC;

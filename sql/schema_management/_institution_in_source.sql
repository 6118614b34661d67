-- Whether the application's own table knows an institution. `source` is {schema, table, id_column}.
--
-- The table is read with the rights of our owner role, so nothing in it may run another user's code under them: it must
-- be a table and no view, without row security, not owned by a tenant's role, its id of a built-in type, and nothing
-- that the planner evaluates on the way (indexes, constraints, statistics) may call a function that a superuser did not
-- make. When it does not fit it says why; the way out is to insert the institutions into
-- edu_matrix_hub_schema.institutions.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._institution_in_source(institution_id uuid, source jsonb)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    qualified CONSTANT text := format('%I.%I', source ->> 'schema', source ->> 'table');
    relation  oid;
    problem   text;
    id_type   text;
    known     boolean;
BEGIN
    SELECT c.oid INTO relation
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = source ->> 'schema' AND c.relname = source ->> 'table' AND c.relkind IN ('r', 'p');
    IF relation IS NULL THEN
        problem := 'there is no such table';
    ELSIF NOT (has_table_privilege(relation, 'SELECT')
               AND has_schema_privilege((SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = relation),
                                        'USAGE')) THEN
        problem := format('role %1$s may not read it: GRANT USAGE ON SCHEMA %2$I TO %1$s; GRANT SELECT ON %3$s TO %1$s',
                          quote_ident(current_user), source ->> 'schema', qualified);
    ELSE
        -- From here on its owner cannot replace it; what is looked at below is what is read.
        EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE', qualified);
        -- While the lock was waited for, another table may have got the name.
        IF to_regclass(qualified) IS DISTINCT FROM relation THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', format('table %s was replaced just now', qualified));
        END IF;
        SELECT format_type(a.atttypid, NULL) INTO id_type
        FROM pg_attribute AS a
        WHERE a.attrelid = relation AND a.attname = source ->> 'id_column' AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attgenerated = '';
        SELECT CASE
            WHEN id_type IS NULL THEN format('it has no plain column "%s"', source ->> 'id_column')
            WHEN id_type NOT IN ('uuid', 'text', 'character varying') THEN
                format('its column "%s" is of type %s, and uuid, text or varchar is needed',
                       source ->> 'id_column', id_type)
            WHEN c.relrowsecurity THEN 'it has row-level security'
            WHEN c.relkind = 'r' AND c.relhassubclass THEN 'other tables inherit from it'
            WHEN EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                         JOIN pg_roles AS r ON r.oid IN (t.owner_role_oid, t.reader_role_oid, t.writer_role_oid)
                                         OR r.rolname IN (t.owner_role, t.reader_role, t.writer_role)
                                         OR r.rolname = ANY (t.logins) OR r.oid = ANY (t.login_oids)
                         WHERE r.oid = c.relowner) THEN 'it belongs to a tenant'
            WHEN EXISTS (
                WITH tree AS (
                    SELECT relation AS oid
                    UNION SELECT p.relid::oid FROM pg_partition_tree(relation) AS p
                ), evaluated (classid, objid) AS (
                    SELECT 'pg_class'::regclass::oid, i.indexrelid FROM pg_index AS i JOIN tree ON tree.oid = i.indrelid
                    UNION ALL SELECT 'pg_class'::regclass, tree.oid FROM tree
                    UNION ALL SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint AS k
                              JOIN tree ON tree.oid = k.conrelid
                    UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext AS s
                              JOIN tree ON tree.oid = s.stxrelid
                )
                SELECT FROM evaluated AS e
                JOIN pg_depend AS d ON d.classid = e.classid AND d.objid = e.objid
                LEFT JOIN pg_proc AS f ON d.refclassid = 'pg_proc'::regclass AND f.oid = d.refobjid
                LEFT JOIN pg_operator AS o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
                JOIN pg_roles AS r ON r.oid = coalesce(f.proowner, o.oprowner)
                WHERE NOT r.rolsuper
            ) THEN 'an index, a constraint or statistics of it call a user''s function'
            END
        INTO problem
        FROM pg_class AS c
        WHERE c.oid = relation;
    END IF;
    IF problem IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('institution_unknown',
            format('institution %s cannot be looked up in table %s: %s; name another institutions.source, '
                   'or insert the institutions into edu_matrix_hub_schema.institutions',
                   institution_id, qualified, problem));
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s AS s WHERE s.%I = $1::%s)', qualified,
                   source ->> 'id_column', id_type)
    INTO known USING institution_id::text;
    RETURN known;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._institution_in_source(uuid, jsonb) FROM PUBLIC;

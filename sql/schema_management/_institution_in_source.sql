-- The type of the column of the application's own table of institutions that has their ids. `source` is {schema, table,
-- id_column, status_column?}; `what` is what is tried, for the message. The table stays locked against changes of its
-- definition.
--
-- It is read with the rights of our owner role, so nothing in it may run another user's code under them: it must be a
-- table and no view, without row security, not owned by a tenant's role, its columns of built-in types or an enum, and
-- nothing that the planner evaluates on the way (indexes, constraints, statistics) may call a function that a superuser
-- did not make. When it does not fit it says why; the way out is to insert the institutions into
-- edu_matrix_hub_schema.institutions.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._source_id_type(source jsonb, what text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    qualified CONSTANT text := format('%I.%I', source ->> 'schema', source ->> 'table');
    relation  oid;
    problem   text;
    id_type   text;
    status_of CONSTANT text := source ->> 'status_column';
    status_is text;
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
        SELECT CASE t.typtype WHEN 'e' THEN 'enum' ELSE format_type(a.atttypid, NULL) END INTO status_is
        FROM pg_attribute AS a
        JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = relation AND a.attname = status_of AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attgenerated = '';
        SELECT CASE
            WHEN id_type IS NULL THEN format('it has no plain column "%s"', source ->> 'id_column')
            WHEN id_type NOT IN ('uuid', 'text', 'character varying') THEN
                format('its column "%s" is of type %s, and uuid, text or varchar is needed',
                       source ->> 'id_column', id_type)
            WHEN status_of IS NOT NULL AND status_is IS NULL THEN format('it has no plain column "%s"', status_of)
            WHEN status_is NOT IN ('text', 'character varying', 'boolean', 'smallint', 'integer', 'enum') THEN
                format('its column "%s" is of type %s, and text, varchar, boolean, smallint, integer or an enum is '
                       'needed', status_of, status_is)
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
            format('%s in table %s: %s; name another institutions.source, or insert the institutions into '
                   'edu_matrix_hub_schema.institutions', what, qualified, problem));
    END IF;
    RETURN id_type;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._source_id_type(jsonb, text) FROM PUBLIC;

-- Whether the application's own table knows an institution.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._institution_in_source(institution_id uuid, source jsonb)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    id_type CONSTANT text := edu_matrix_hub_schema._source_id_type(
        source, format('institution %s cannot be looked up', institution_id));
    known   boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I AS s WHERE s.%I = $1::%s)', source ->> 'schema',
                   source ->> 'table', source ->> 'id_column', id_type)
    INTO known USING institution_id::text;
    RETURN known;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._institution_in_source(uuid, jsonb) FROM PUBLIC;

-- Notes how the institutions of all living tenants stand in the application's own table; a survey calls it. `source`
-- has `suspended_values` besides, the values of the status column that suspend. Without a source nothing of one is
-- noted any longer. Returns why the table cannot be read, and then what was noted stays; null when it was.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._read_institutions(source jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    suspended CONSTANT text[] := ARRAY(SELECT jsonb_array_elements_text(source -> 'suspended_values'));
    id_type   text;
BEGIN
    IF source IS NULL THEN
        UPDATE edu_matrix_hub_schema.institutions AS i SET source_status = NULL WHERE i.source_status IS NOT NULL;
        RETURN NULL;
    END IF;
    id_type := edu_matrix_hub_schema._source_id_type(source, 'how institutions stand cannot be read');
    -- An id that is there more than once is suspended if any of its rows says so.
    EXECUTE format($statement$
        WITH seen AS (
            SELECT k.id, bool_or(s.id IS NOT NULL) AS stands, bool_or(s.status = ANY ($1)) AS is_suspended
            FROM (SELECT DISTINCT t.institution_id AS id FROM edu_matrix_hub_schema.tenant_schemas AS t
                  WHERE t.institution_id IS NOT NULL AND t.status IN ('active', 'suspended')) AS k
            LEFT JOIN (SELECT x.%1$I AS id, %2$s AS status FROM %3$I.%4$I AS x) AS s ON s.id = k.id::%5$s
            GROUP BY k.id
        ), next AS (
            SELECT i.id, CASE WHEN s.is_suspended THEN 'suspended' WHEN s.stands THEN 'active'
                              WHEN i.source_status IS NOT NULL THEN 'gone' END AS source_status
            FROM seen AS s JOIN edu_matrix_hub_schema.institutions AS i ON i.id = s.id
        ), different AS (
            SELECT i.id, n.source_status
            FROM edu_matrix_hub_schema.institutions AS i JOIN next AS n ON n.id = i.id
            WHERE i.source_status IS DISTINCT FROM n.source_status
            FOR UPDATE OF i SKIP LOCKED
        )
        UPDATE edu_matrix_hub_schema.institutions AS i SET source_status = d.source_status
        FROM different AS d WHERE d.id = i.id
        $statement$, source ->> 'id_column',
        CASE WHEN source ? 'status_column' THEN format('x.%I::text', source ->> 'status_column') ELSE 'NULL::text' END,
        source ->> 'schema', source ->> 'table', id_type)
    USING suspended;
    RETURN NULL;
EXCEPTION WHEN SQLSTATE 'TS001' OR lock_not_available OR insufficient_privilege OR undefined_table THEN
    RETURN SQLERRM;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._read_institutions(jsonb) FROM PUBLIC;

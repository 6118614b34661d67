-- What makes a view or function of a tenant again: the statement that makes it, without rows, and those that give it
-- what it had, its comments, options, defaults, rules, triggers, indexes and statistics; who has which right on it; and
-- the schemas that all this names (_dependent_homes). It is the tenant's own text, written by the server, and is run
-- only as that tenant.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._dependent_definition(
    relation oid, function oid, wanted boolean, patient boolean, OUT remake text[], OUT acl jsonb, OUT homes jsonb
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    definition record;
    object     record;
BEGIN
    SELECT * INTO definition FROM edu_matrix_hub_schema._definition(relation, function, wanted, patient);
    IF definition.text IS NULL THEN
        RAISE EXCEPTION '%', definition.note;
    END IF;
    homes := edu_matrix_hub_schema._dependent_homes(relation, function);
    IF function IS NOT NULL THEN
        remake := ARRAY[regexp_replace(definition.text, '^CREATE OR REPLACE ', 'CREATE ')] || ARRAY(
            SELECT format('COMMENT ON ROUTINE %s IS %L', edu_matrix_hub_schema._routine_name(function), d.description)
            FROM pg_description AS d
            WHERE d.classoid = 'pg_proc'::regclass AND d.objoid = function);
        acl := edu_matrix_hub_schema._rights_of((SELECT coalesce(p.proacl, acldefault('f', p.proowner))
                                                 FROM pg_proc AS p WHERE p.oid = function), NULL);
        RETURN;
    END IF;
    SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relkind = 'm' AS is_stored,
           CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind,
           coalesce(' USING ' || quote_ident(a.amname), '') AS method,
           coalesce(' WITH (' || (SELECT string_agg(o.text, ', ' ORDER BY o.n)
                                  FROM unnest(c.reloptions) WITH ORDINALITY AS o (text, n)) || ')', '') AS options,
           coalesce(' TABLESPACE ' || quote_ident(s.spcname), '') AS place,
           coalesce(' (' || (SELECT string_agg(quote_ident(t.attname), ', ' ORDER BY t.attnum)
                             FROM pg_attribute AS t WHERE t.attrelid = c.oid AND t.attnum > 0) || ')', '') AS names
    INTO STRICT object
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_am AS a ON a.oid = c.relam
    LEFT JOIN pg_tablespace AS s ON s.oid = c.reltablespace
    WHERE c.oid = relation;
    remake := ARRAY[format('CREATE %s %s%s%s%s%s AS %s%s', object.kind, object.name, object.names, object.method,
                           object.options, object.place, rtrim(definition.text, ';'),
                           CASE WHEN object.is_stored THEN ' WITH NO DATA' ELSE '' END)]
        || ARRAY(SELECT format('ALTER VIEW %s ALTER COLUMN %I SET DEFAULT %s', object.name, t.attname,
                               pg_get_expr(f.adbin, f.adrelid))
                 FROM pg_attrdef AS f JOIN pg_attribute AS t ON t.attrelid = f.adrelid AND t.attnum = f.adnum
                 WHERE f.adrelid = relation ORDER BY f.adnum)
        || ARRAY(SELECT pg_get_indexdef(i.indexrelid) FROM pg_index AS i WHERE i.indrelid = relation
                 ORDER BY i.indexrelid)
        || ARRAY(SELECT pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext AS s WHERE s.stxrelid = relation
                 ORDER BY s.oid)
        || ARRAY(SELECT pg_get_ruledef(u.oid) FROM pg_rewrite AS u
                 WHERE u.ev_class = relation AND u.rulename <> '_RETURN' ORDER BY u.oid)
        || ARRAY(SELECT pg_get_triggerdef(t.oid) FROM pg_trigger AS t
                 WHERE t.tgrelid = relation AND NOT t.tgisinternal ORDER BY t.oid)
        || ARRAY(SELECT CASE d.objsubid WHEN 0 THEN format('COMMENT ON %s %s IS %L', object.kind, object.name,
                                                           d.description)
                        ELSE format('COMMENT ON COLUMN %s.%I IS %L', object.name, t.attname, d.description) END
                 FROM pg_description AS d
                 LEFT JOIN pg_attribute AS t ON t.attrelid = d.objoid AND t.attnum = d.objsubid
                 WHERE d.classoid = 'pg_class'::regclass AND d.objoid = relation ORDER BY d.objsubid);
    acl := edu_matrix_hub_schema._rights_of((SELECT coalesce(c.relacl, acldefault('r', c.relowner))
                                             FROM pg_class AS c WHERE c.oid = relation), NULL)
        || (SELECT coalesce(jsonb_agg(e.value), '[]')
            FROM pg_attribute AS t
            CROSS JOIN LATERAL jsonb_array_elements(edu_matrix_hub_schema._rights_of(t.attacl,
                                                                                     t.attname::text)) AS e (value)
            WHERE t.attrelid = relation AND t.attacl IS NOT NULL);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._dependent_definition(oid, oid, boolean, boolean) FROM PUBLIC;

-- The schemas that the definition of a view or function names, but for its own and the server's: [{oid, name,
-- tenant?, indexed?}...]. A definition is text, and finds what now has a name; so it is run only while each of these is
-- still the same tenant's (_left_by_others). `indexed` are those that an index or statistics object of it names.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._dependent_homes(relation oid, function oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    RETURN (WITH part AS (
        SELECT 'pg_class'::regclass::oid AS classid, c.oid AS objid, c.relnamespace AS own
        FROM pg_class AS c WHERE c.oid = $1
        UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.pronamespace FROM pg_proc AS p WHERE p.oid = $2
    ), piece AS (
        SELECT p.classid, p.objid, p.own FROM part AS p
        UNION
        -- Rules, defaults, triggers, indexes and statistics.
        SELECT d.classid, d.objid, p.own FROM part AS p
        JOIN pg_depend AS d ON d.refclassid = p.classid AND d.refobjid = p.objid AND d.deptype IN ('i', 'a')
    )
    SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'oid', n.oid::bigint, 'name', n.nspname, 'tenant', t.id,
               'indexed', nullif(home.indexed, false))) ORDER BY n.oid), '[]')
    FROM (SELECT h.oid, bool_or(p.classid = 'pg_statistic_ext'::regclass
                                OR p.classid = 'pg_class'::regclass AND p.objid <> $1) AS indexed
          FROM piece AS p
          JOIN pg_depend AS d ON d.classid = p.classid AND d.objid = p.objid
          CROSS JOIN LATERAL (SELECT CASE d.refclassid WHEN 'pg_namespace'::regclass THEN d.refobjid
              ELSE edu_matrix_hub_schema._home_schema(d.refclassid, d.refobjid) END AS oid) AS h
          GROUP BY h.oid) AS home
    JOIN pg_namespace AS n ON n.oid = home.oid
    LEFT JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.schema_oid = n.oid AND t.schema_name = n.nspname
      AND t.status <> 'dropped'
    WHERE n.oid NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)
      AND n.oid <> (SELECT p.own FROM part AS p));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._dependent_homes(oid, oid) FROM PUBLIC;

-- A list of rights without those of the owner: [{oid, privilege, grantable, column?}...]; the number 0 is PUBLIC.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._rights_of(rights aclitem[], name text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'oid', a.grantee::bigint, 'role', r.rolname, 'privilege', a.privilege_type, 'grantable', a.is_grantable,
               'column', name))), '[]')
    FROM aclexplode(rights) AS a
    LEFT JOIN pg_roles AS r ON r.oid = a.grantee
    WHERE a.grantee = 0 OR a.grantee <> a.grantor
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._rights_of(aclitem[], text) FROM PUBLIC;

-- The statements that give a view or function that was made again the rights that it had, and no others. A role that
-- only has the name of one that had a right is another one, and gets nothing.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._rights_again(tenant edu_matrix_hub_schema.tenant_schemas,
                                                               taken edu_matrix_hub_schema.taken_dependents)
RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH place AS (
        SELECT CASE WHEN taken.kind IN ('view', 'materialized view') THEN 'TABLE ' ELSE 'ROUTINE ' END
               || taken.name AS name
    )
    SELECT ARRAY[format('REVOKE ALL ON %s FROM PUBLIC', p.name) || coalesce(', ' || (
               -- Who has rights on all that is new.
               SELECT string_agg(DISTINCT quote_ident(r.rolname), ', ')
               FROM pg_default_acl AS d
               CROSS JOIN aclexplode(d.defaclacl) AS a
               JOIN pg_roles AS r ON r.oid = a.grantee
               WHERE d.defaclrole = tenant.owner_role_oid AND a.grantee <> d.defaclrole), '')]
           || ARRAY(
               SELECT format('GRANT %s ON %s TO %s%s',
                             string_agg((e.value ->> 'privilege')
                                        || coalesce(' (' || quote_ident(e.value ->> 'column') || ')', ''), ', '),
                             p.name, coalesce(quote_ident(r.rolname), 'PUBLIC'),
                             CASE WHEN (e.value ->> 'grantable')::boolean THEN ' WITH GRANT OPTION' ELSE '' END)
               FROM jsonb_array_elements(taken.acl) AS e (value)
               LEFT JOIN pg_roles AS r ON r.oid = (e.value ->> 'oid')::oid AND r.rolname = e.value ->> 'role'
               WHERE r.oid IS NOT NULL OR e.value ->> 'oid' = '0'
               GROUP BY r.rolname, e.value ->> 'grantable'
               ORDER BY r.rolname)
    FROM place AS p
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._rights_again(edu_matrix_hub_schema.tenant_schemas,
                                                           edu_matrix_hub_schema.taken_dependents) FROM PUBLIC;

-- What outside of a schema depends on something in it, as text such as `public.mine.mine_id_fkey` or
-- `reporting.v_groups`: foreign keys, views, rules, policies, triggers, functions, defaults, columns of its types,
-- children and partitions. While there is any, neither renaming nor removing the schema is ours to do: both would
-- change another user's objects.
--
-- Publications do not count; they are recorded and left. Temporary objects do not count either. A cast between a type
-- of the schema and another one is the schema's. An extension of the schema counts with all that it made: what of it
-- lives elsewhere, and other extensions that need it, would fall with the schema. Inheritance counts in both
-- directions: queries of a parent read its children, wherever they are.
--
-- With `objects` (numbers in `catalog`) it is asked of these alone, and of what in the schema would fall with them.
-- `besides` are dependents that do not count (_whole_key): they are removed with it.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._outside_dependents(oid, oid, oid[]);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._outside_dependents(namespace oid, catalog oid, objects oid[],
                                                                     besides bigint[] DEFAULT '{}')
RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace
                   AND d.classid NOT IN ('pg_publication_namespace'::regclass, 'pg_default_acl'::regclass)) THEN
        -- It is empty. The server plans the query below again after every change of a schema, which takes
        -- longer than running it.
        RETURN;
    END IF;
    RETURN QUERY
    WITH member AS MATERIALIZED (
        SELECT m.classid, m.objid FROM edu_matrix_hub_schema._schema_members(namespace) AS m WHERE objects IS NULL
        UNION ALL
        SELECT e.classid, e.objid FROM edu_matrix_hub_schema._schema_extensions(namespace) AS e WHERE objects IS NULL
        UNION ALL
        SELECT f.classid, f.objid FROM edu_matrix_hub_schema._falling(namespace, catalog, objects) AS f
        WHERE objects IS NOT NULL
    ), dependent AS MATERIALIZED (
        SELECT DISTINCT d.classid, d.objid, d.objsubid
        FROM member AS m
        JOIN pg_depend AS d ON d.refclassid = m.classid AND d.refobjid = m.objid
        WHERE d.classid NOT IN ('pg_publication_rel'::regclass, 'pg_publication_namespace'::regclass,
                                'pg_cast'::regclass, 'pg_transform'::regclass, 'pg_default_acl'::regclass)
          AND NOT EXISTS (SELECT FROM member AS own WHERE own.classid = d.classid AND own.objid = d.objid)
          -- The triggers of a foreign key are part of it.
          AND NOT (d.classid = 'pg_trigger'::regclass AND (SELECT t.tgisinternal FROM pg_trigger AS t
                                                           WHERE t.oid = d.objid))
    ), outside AS (
        SELECT d.*
        FROM dependent AS d
        -- The kinds that come by the thousand are looked up here: a call for each of them would take most of the time.
        CROSS JOIN LATERAL (SELECT CASE d.classid
            WHEN 'pg_class'::regclass THEN (SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = d.objid)
            WHEN 'pg_constraint'::regclass THEN (SELECT k.connamespace FROM pg_constraint AS k WHERE k.oid = d.objid)
            WHEN 'pg_attrdef'::regclass THEN (SELECT c.relnamespace FROM pg_attrdef AS a
                                              JOIN pg_class AS c ON c.oid = a.adrelid WHERE a.oid = d.objid)
            WHEN 'pg_rewrite'::regclass THEN (SELECT c.relnamespace FROM pg_rewrite AS u
                                              JOIN pg_class AS c ON c.oid = u.ev_class WHERE u.oid = d.objid)
            WHEN 'pg_trigger'::regclass THEN (SELECT c.relnamespace FROM pg_trigger AS t
                                              JOIN pg_class AS c ON c.oid = t.tgrelid WHERE t.oid = d.objid)
            ELSE edu_matrix_hub_schema._home_schema(d.classid, d.objid) END AS oid) AS home
        WHERE home.oid IS DISTINCT FROM namespace
          -- TOAST tables live elsewhere and are part of their tables.
          AND home.oid IS DISTINCT FROM 'pg_toast'::regnamespace
          -- A temporary object ends with its session. No other could remove it, and the next one is soon made.
          AND NOT EXISTS (SELECT FROM pg_namespace AS n WHERE n.oid = home.oid AND left(n.nspname, 8) = 'pg_temp_')
          AND (besides = '{}' OR edu_matrix_hub_schema._whole_key(d.classid, d.objid) <> ALL (besides))
    )
    SELECT DISTINCT CASE o.classid
        WHEN 'pg_constraint'::regclass THEN coalesce(
            (SELECT format('%I.%I.%I', n.nspname, c.relname, k.conname)
             FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
             JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE k.oid = o.objid),
            pg_describe_object(o.classid, o.objid, 0))
        WHEN 'pg_rewrite'::regclass THEN
            (SELECT format('%I.%I', n.nspname, c.relname) || CASE WHEN u.rulename = '_RETURN' THEN ''
                                                                  ELSE '.' || quote_ident(u.rulename) END
             FROM pg_rewrite AS u JOIN pg_class AS c ON c.oid = u.ev_class
             JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE u.oid = o.objid)
        WHEN 'pg_attrdef'::regclass THEN
            (SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname)
             FROM pg_attrdef AS f JOIN pg_class AS c ON c.oid = f.adrelid
             JOIN pg_namespace AS n ON n.oid = c.relnamespace
             JOIN pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum WHERE f.oid = o.objid)
        WHEN 'pg_class'::regclass THEN
            (SELECT format('%I.%I', n.nspname, c.relname) || coalesce('.' || quote_ident(a.attname), '')
             FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = o.objsubid AND o.objsubid > 0
             WHERE c.oid = o.objid)
        WHEN 'pg_proc'::regclass THEN o.objid::regprocedure::text
        WHEN 'pg_policy'::regclass THEN
            (SELECT format('%I.%I.%I', n.nspname, c.relname, p.polname)
             FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
             JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE p.oid = o.objid)
        WHEN 'pg_trigger'::regclass THEN
            (SELECT format('%I.%I.%I', n.nspname, c.relname, t.tgname)
             FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
             JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE t.oid = o.objid)
        ELSE pg_describe_object(o.classid, o.objid, o.objsubid)
    END
    FROM outside AS o
    UNION
    SELECT parent.oid::regclass::text
    FROM member AS m
    JOIN pg_inherits AS i ON m.classid = 'pg_class'::regclass AND i.inhrelid = m.objid
    JOIN pg_class AS parent ON parent.oid = i.inhparent
    WHERE parent.relnamespace <> namespace
    ORDER BY 1;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._outside_dependents(oid, oid, oid[], bigint[]) FROM PUBLIC;

-- The extensions that stand in a schema, and what of them lives in no schema, such as an access method.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._schema_extensions(namespace oid)
RETURNS TABLE (classid oid, objid oid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT 'pg_extension'::regclass::oid, e.oid FROM pg_extension AS e WHERE e.extnamespace = namespace
    UNION ALL
    SELECT d.classid, d.objid
    FROM pg_extension AS e
    JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    WHERE e.extnamespace = namespace AND edu_matrix_hub_schema._home_schema(d.classid, d.objid) IS NULL
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._schema_extensions(oid) FROM PUBLIC;

-- What in a schema falls when some of its objects are dropped with CASCADE, those included.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._falling(namespace oid, catalog oid, objects oid[])
RETURNS TABLE (classid oid, objid oid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH RECURSIVE falling AS (
        SELECT $2 AS classid, o.objid FROM unnest($3) AS o (objid)
        UNION
        SELECT n.classid, n.objid
        FROM falling AS f
        CROSS JOIN LATERAL (
            SELECT d.classid, d.objid FROM pg_depend AS d WHERE d.refclassid = f.classid AND d.refobjid = f.objid
            UNION ALL
            -- Where a part has to fall, the whole does: a view with its rule.
            SELECT d.refclassid, d.refobjid FROM pg_depend AS d
            WHERE d.classid = f.classid AND d.objid = f.objid AND d.deptype = 'i'
        ) AS n
        WHERE edu_matrix_hub_schema._home_schema(n.classid, n.objid) = $1
    )
    SELECT f.classid, f.objid FROM falling AS f
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._falling(oid, oid, oid[]) FROM PUBLIC;

-- Refuses with the list when anything outside depends on the schema, or on these objects of it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._refuse_dependents(namespace oid, way_out text, catalog oid,
                                                                    objects oid[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    PERFORM edu_matrix_hub_schema._refuse_listed(way_out, ARRAY(
        SELECT d.name FROM edu_matrix_hub_schema._outside_dependents(namespace, catalog, objects) AS d (name)));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._refuse_dependents(oid, text, oid, oid[]) FROM PUBLIC;

-- Refuses with these names of dependents, if there are any. What was set aside of another tenant is not removed by hand
-- but as a whole, so the message has the statement for that.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._refuse_listed(way_out text, names text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    dependents text[];
    set_aside  text;
BEGIN
    SELECT coalesce(array_agg(d.name ORDER BY d.name), '{}') INTO dependents
    FROM (SELECT DISTINCT u.name FROM unnest(names) AS u (name) WHERE u.name IS NOT NULL) AS d;
    IF dependents = '{}' THEN
        RETURN;
    END IF;
    SELECT string_agg(format('; "%s" is what was set aside of schema "%s": bring that back, or remove it for good, and '
                             'call again while it says partial: SELECT * FROM '
                             'edu_matrix_hub_schema.purge_schema_backup(%L)', s.location, s.schema_name, s.id), '')
    INTO set_aside
    FROM (SELECT b.location, b.schema_name, b.id
          FROM edu_matrix_hub_schema.schema_backups AS b
          WHERE b.method = 'SetAside' AND b.state IN ('complete', 'purging')
            AND EXISTS (SELECT FROM unnest(dependents[:10]) AS d (name)
                        WHERE starts_with(d.name, quote_ident(b.location) || '.'))
          ORDER BY b.location LIMIT 3) AS s;
    PERFORM edu_matrix_hub_schema._refuse('dependents',
        format('%s objects outside it depend on it (%s%s); %s', cardinality(dependents),
               array_to_string(dependents[:10], ', '),
               CASE WHEN cardinality(dependents) > 10 THEN ', ...' ELSE '' END, way_out) || coalesce(set_aside, ''),
        jsonb_build_object('dependents', dependents[:50], 'dependent_count', cardinality(dependents)));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._refuse_listed(text, text[]) FROM PUBLIC;

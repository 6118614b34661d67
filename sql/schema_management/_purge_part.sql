-- Removes a bounded part of a schema that nothing outside depends on, and says what; null when the schema
-- itself is gone.
--
-- A part costs what it removes, however large the schema is: it looks at the objects that were made last, and at
-- what depends on these. Only before the first part (`begun` is false) all of it is looked at, since what has
-- begun cannot come back.
--
-- Every object that is dropped costs a lock until the commit, so parts are counted in objects. First tables, children
-- before parents, at most 200; one that is more than a part by itself loses its constraints and indexes before. Foreign
-- keys and views of the whole schema go as soon as one of them is in the way of a table. Then functions, types and the
-- rest, and what is left goes with the schema.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._purge_part(namespace oid, begun boolean) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
-- Whole catalogues, or all of the schema in them, would be read for a few rows.
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    -- Half of the budget, which is half of what the server has, keeps one part well below what its neighbours need.
    budget     CONSTANT bigint := greatest(edu_matrix_hub_schema._lock_budget() / 2, 100);
    tables     oid[];
    names      text;
    heaviest   bigint;
    statements text[];
    in_the_way record;
    target     record;
    removed    integer := 0;
BEGIN
    -- Can the rest go at once? More than a few are not even weighed.
    IF NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = 'pg_namespace'::regclass
                     AND d.refobjid = namespace OFFSET 300) THEN
        SELECT coalesce(array_agg(w.object) FILTER (WHERE w.kind = 'TABLE'), '{}') AS tables,
               coalesce(sum(w.weight), 0) AS weight INTO target
        FROM edu_matrix_hub_schema._schema_weights(namespace, 'all', NULL) AS w;
        IF cardinality(target.tables) <= 200 AND target.weight <= budget THEN
            RETURN edu_matrix_hub_schema._drop_rest(namespace, target.tables);
        END IF;
    END IF;
    IF NOT begun THEN
        PERFORM edu_matrix_hub_schema._refuse_dependents(namespace, 'remove them, and call again', NULL, NULL);
    END IF;

    SELECT array_agg(w.object ORDER BY w.n), string_agg(w.name, ', ' ORDER BY w.n), max(w.weight) FILTER (WHERE w.n = 1)
    INTO tables, names, heaviest
    FROM (SELECT t.object, t.name, t.weight, t.ordinality AS n, sum(t.weight) OVER (ORDER BY t.ordinality) AS so_far
          FROM edu_matrix_hub_schema._schema_weights(namespace, 'tables', 200) WITH ORDINALITY AS t) AS w
    WHERE w.n = 1 OR w.so_far <= budget;

    -- Are they in the way of foreign keys and views beyond this part? Table by table: the index knows no lists.
    SELECT bool_or(CASE d.classid WHEN 'pg_constraint'::regclass THEN
                   (SELECT k.contype = 'f' AND k.conrelid <> ALL (tables) FROM pg_constraint AS k
                    WHERE k.oid = d.objid) END) AS keys,
           bool_or(CASE d.classid WHEN 'pg_rewrite'::regclass THEN
                   (SELECT u.ev_class <> ALL (tables) FROM pg_rewrite AS u WHERE u.oid = d.objid) END) AS views
    INTO in_the_way
    FROM unnest(tables) AS t (oid)
    CROSS JOIN LATERAL (SELECT d.classid, d.objid FROM pg_depend AS d
                        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid OFFSET 0) AS d;
    IF in_the_way.keys THEN
        SELECT array_agg(f.statement) INTO statements
        FROM (SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) AS statement
              FROM pg_constraint AS k
              JOIN pg_class AS c ON c.oid = k.conrelid
              WHERE k.connamespace = namespace AND k.contype = 'f' AND k.conparentid = 0
                AND pg_has_role(c.relowner, 'USAGE')
              LIMIT least(200, budget / 8)) AS f;
        IF statements IS NOT NULL THEN
            EXECUTE array_to_string(statements, '; ');
            RETURN format('%s foreign keys removed', cardinality(statements));
        END IF;
    END IF;

    IF tables IS NULL OR in_the_way.views THEN
        FOR target IN
            SELECT w.* FROM edu_matrix_hub_schema._schema_weights(namespace, 'views', least(200, budget / 8)) AS w
            ORDER BY w.object DESC
        LOOP
            PERFORM edu_matrix_hub_schema._drop_inside(namespace, target.kind, target.name,
                                                       target.classid, ARRAY[target.object]);
            removed := removed + 1;
        END LOOP;
        IF removed > 0 THEN
            RETURN format('%s views removed', removed);
        END IF;
    END IF;

    IF heaviest > budget THEN
        removed := edu_matrix_hub_schema._lighten(namespace, tables[1], budget);
        IF removed > 0 THEN
            RETURN format('%s constraints, indexes, triggers and policies of one table removed', removed);
        END IF;
    END IF;
    IF tables IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._drop_inside(namespace, 'TABLE', names, 'pg_class'::regclass, tables);
        RETURN format('%s tables removed', cardinality(tables));
    END IF;

    -- What is left of the many: functions, types, sequences, foreign tables, collations and so on, in one statement a
    -- kind; types go last, since the rest is made of them. The last of all go with the schema.
    FOR target IN
        SELECT w.kind, w.classid, string_agg(w.name, ', ' ORDER BY w.object DESC) AS names,
               array_agg(w.object) AS objects
        FROM edu_matrix_hub_schema._schema_weights(namespace, 'others', least(1000, budget / 4)) AS w
        -- The grammar has no lists of these two.
        GROUP BY w.kind, w.classid, CASE WHEN w.kind IN ('OPERATOR CLASS', 'OPERATOR FAMILY') THEN w.object END
        ORDER BY w.kind = 'TYPE', w.kind
    LOOP
        PERFORM edu_matrix_hub_schema._drop_inside(namespace, target.kind, target.names,
                                                   target.classid, target.objects);
        removed := removed + cardinality(target.objects);
    END LOOP;
    IF removed = 0 THEN
        RETURN edu_matrix_hub_schema._drop_rest(namespace, '{}');
    END IF;
    RETURN format('%s functions, types and others removed', removed);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._purge_part(oid, boolean) FROM PUBLIC;

-- Drops objects of one kind, first without CASCADE, so that nothing goes that was not asked for. Where the server
-- refuses that, what is in the way may be in this schema, where only its owner can use it, and goes with them.
-- Otherwise this refuses.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._drop_inside(namespace oid, kind text, names text, catalog oid,
                                                              objects oid[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    -- The one before may have taken this one with it.
    statement CONSTANT text := format('DROP %s IF EXISTS %s', kind, names);
BEGIN
    EXECUTE statement;
EXCEPTION WHEN dependent_objects_still_exist THEN
    PERFORM edu_matrix_hub_schema._lock_tables(CASE catalog WHEN 'pg_class'::regclass THEN objects END);
    PERFORM edu_matrix_hub_schema._refuse_dependents(namespace, 'remove them, and call again', catalog, objects);
    EXECUTE statement || ' CASCADE';
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._drop_inside(oid, text, text, oid, oid[]) FROM PUBLIC;

-- Drops the schema with what is left in it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._drop_rest(namespace oid, tables oid[]) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    PERFORM edu_matrix_hub_schema._lock_tables(tables);
    PERFORM edu_matrix_hub_schema._refuse_dependents(namespace, 'remove them, and call again', NULL, NULL);
    EXECUTE format('DROP SCHEMA %s CASCADE', namespace::regnamespace);
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._drop_rest(oid, oid[]) FROM PUBLIC;

-- Takes the locks that dropping tables will take, before we look what depends on them: a session that was just making
-- such a thing has ended by then, and it can be seen. Not ours to lock are tables of foreign owners.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._lock_tables(tables oid[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    names text;
BEGIN
    SELECT string_agg('ONLY ' || c.oid::regclass, ', ' ORDER BY c.oid) INTO names
    FROM pg_class AS c WHERE c.oid = ANY (tables) AND c.relkind IN ('r', 'p') AND pg_has_role(c.relowner, 'USAGE');
    IF names IS NOT NULL THEN
        EXECUTE 'LOCK TABLE ' || names || ' IN ACCESS EXCLUSIVE MODE';
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._lock_tables(oid[]) FROM PUBLIC;

-- Takes away a part of what hangs on a table, and returns how much; nothing when there is nothing that
-- can go by itself.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._lighten(namespace oid, heavy oid, budget bigint) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    statements CONSTANT text[] := ARRAY(
        SELECT s.statement
        FROM (SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', heavy::regclass, k.conname) AS statement
              FROM pg_constraint AS k WHERE k.conrelid = heavy AND k.contype IN ('c', 'u', 'x')
                AND k.conislocal AND k.coninhcount = 0
              UNION ALL
              SELECT format('DROP INDEX %s', i.indexrelid::regclass) FROM pg_index AS i
              WHERE i.indrelid = heavy AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid)
                AND NOT EXISTS (SELECT FROM pg_inherits AS p WHERE p.inhrelid = i.indexrelid)
              UNION ALL
              SELECT format('DROP TRIGGER %I ON %s', t.tgname, heavy::regclass) FROM pg_trigger AS t
              WHERE t.tgrelid = heavy AND NOT t.tgisinternal AND t.tgparentid = 0
              UNION ALL
              SELECT format('DROP POLICY %I ON %s', p.polname, heavy::regclass) FROM pg_policy AS p
              WHERE p.polrelid = heavy
              UNION ALL
              SELECT format('DROP RULE %I ON %s', u.rulename, heavy::regclass) FROM pg_rewrite AS u
              WHERE u.ev_class = heavy) AS s
        WHERE pg_has_role((SELECT c.relowner FROM pg_class AS c WHERE c.oid = heavy), 'USAGE')
        LIMIT least(200, budget / 4));
    removed    integer := 0;
BEGIN
    FOR i IN 1..cardinality(statements) LOOP
        BEGIN
            EXECUTE statements[i];
            removed := removed + 1;
        EXCEPTION WHEN dependent_objects_still_exist THEN
            PERFORM edu_matrix_hub_schema._refuse_dependents(namespace, 'remove them, and call again',
                                                             'pg_class'::regclass, ARRAY[heavy]);
        END;
    END LOOP;
    RETURN removed;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._lighten(oid, oid, bigint) FROM PUBLIC;

-- Removes a bounded part of a schema that nothing outside depends on, and says what; null when the schema itself is gone.
--
-- Every object that is dropped costs a lock until the commit, so parts are counted in objects: foreign keys, then views from
-- the outside in, then tables (children before parents, at most 200; one that is more than a part by itself loses its constraints
-- and indexes first), then functions, types and the rest, and what is left goes with the schema. Dropping is first tried
-- without CASCADE. Where that fails, what is in the way is in this schema: nobody but its owner may use it, and every part looks
-- whether something outside depends on it, after it has locked the tables that it drops. Otherwise it refuses.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._purge_part(namespace oid) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    -- Half of the budget, which is half of what the server has, keeps one part well below what its neighbours need.
    budget CONSTANT bigint := greatest(edu_matrix_hub_schema._lock_budget() / 2, 100);
    total  record;
    names  text[];
    tables oid[];
    target record;
BEGIN
    SELECT count(*) FILTER (WHERE w.kind = 'table') AS tables, coalesce(sum(w.weight), 0) AS weight INTO total
    FROM edu_matrix_hub_schema._schema_weights(namespace) AS w;
    IF total.tables <= 200 AND total.weight <= budget THEN
        PERFORM edu_matrix_hub_schema._lock_and_look(namespace, ARRAY(
            SELECT w.object FROM edu_matrix_hub_schema._schema_weights(namespace) AS w WHERE w.kind = 'table'));
        EXECUTE format('DROP SCHEMA %s CASCADE', namespace::regnamespace);
        RETURN NULL;
    END IF;

    SELECT array_agg(f.statement) INTO names
    FROM (SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) AS statement
          FROM pg_constraint AS k
          JOIN pg_class AS c ON c.oid = k.conrelid
          WHERE k.connamespace = namespace AND k.contype = 'f' AND k.conparentid = 0 AND pg_has_role(c.relowner, 'USAGE')
          LIMIT least(200, budget / 8)) AS f;
    IF names IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._lock_and_look(namespace, '{}');
        EXECUTE array_to_string(names, '; ');
        RETURN format('%s foreign keys removed', cardinality(names));
    END IF;

    -- Views that no other view reads; in a ring, which only functions can close, any.
    SELECT array_agg(format('%s', v.name)) INTO names
    FROM (SELECT c.oid::regclass::text AS name
          FROM pg_class AS c
          WHERE c.relnamespace = namespace AND c.relkind IN ('v', 'm')
            AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
          ORDER BY EXISTS (SELECT FROM pg_depend AS d JOIN pg_rewrite AS u ON u.oid = d.objid
                           WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid = 'pg_rewrite'::regclass AND u.ev_class <> c.oid), c.oid
          LIMIT least(200, budget / 8)) AS v;
    IF names IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._lock_and_look(namespace, '{}');
    END IF;
    FOR i IN 1..coalesce(cardinality(names), 0) LOOP
        SELECT c.relkind INTO target FROM pg_class AS c WHERE c.oid = to_regclass(names[i]);
        CONTINUE WHEN NOT FOUND;
        EXECUTE format('DROP %s %s CASCADE', CASE target.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, names[i]);
    END LOOP;
    IF names IS NOT NULL THEN
        RETURN format('%s views removed', cardinality(names));
    END IF;

    names := edu_matrix_hub_schema._lighten(namespace, budget);
    IF names <> '{}' THEN
        RETURN format('%s constraints, indexes, triggers and policies of one table removed', cardinality(names));
    END IF;

    SELECT array_agg(t.name ORDER BY t.n), array_agg(t.object) INTO names, tables
    FROM (SELECT w.object, w.object::regclass::text AS name, row_number() OVER (ORDER BY w.object) AS n, sum(w.weight) OVER (ORDER BY w.object) AS so_far
          FROM edu_matrix_hub_schema._schema_weights(namespace) AS w
          WHERE w.kind = 'table' AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = w.object)) AS t
    WHERE t.n = 1 OR (t.n <= 200 AND t.so_far <= budget);
    IF names IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._lock_and_look(namespace, tables);
        BEGIN
            EXECUTE 'DROP TABLE ' || array_to_string(names, ', ');
        EXCEPTION WHEN dependent_objects_still_exist THEN
            EXECUTE 'DROP TABLE ' || array_to_string(names, ', ') || ' CASCADE';
        END;
        RETURN format('%s tables removed', cardinality(names));
    END IF;

    -- What is left of the many: functions, types, sequences, foreign tables, collations and so on. The last of them go with the schema.
    SELECT array_agg(t.statement ORDER BY t.n) INTO names
    FROM (SELECT w.kind || ' IF EXISTS ' || w.name AS statement, row_number() OVER (ORDER BY w.kind, w.object) AS n FROM edu_matrix_hub_schema._schema_weights(namespace) AS w
          WHERE w.kind <> 'other') AS t
    WHERE t.n <= least(200, budget / 4);
    PERFORM edu_matrix_hub_schema._lock_and_look(namespace, '{}');
    IF names IS NULL THEN
        EXECUTE format('DROP SCHEMA %s CASCADE', namespace::regnamespace);
        RETURN NULL;
    END IF;
    FOR i IN 1..cardinality(names) LOOP
        -- The one before may have taken this one with it.
        EXECUTE 'DROP ' || names[i] || ' CASCADE';
    END LOOP;
    RETURN format('%s functions, types and others removed', cardinality(names));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._purge_part(oid) FROM PUBLIC;

-- Takes the locks that dropping tables will take, and then refuses when anything outside depends on the schema: whoever was
-- just making such a thing has ended by then, and it can be seen. Not ours to lock are tables of foreign owners.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._lock_and_look(namespace oid, tables oid[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    names text;
BEGIN
    SELECT string_agg('ONLY ' || c.oid::regclass, ', ' ORDER BY c.oid) INTO names
    FROM pg_class AS c WHERE c.oid = ANY (tables) AND pg_has_role(c.relowner, 'USAGE');
    IF names IS NOT NULL THEN
        EXECUTE 'LOCK TABLE ' || names || ' IN ACCESS EXCLUSIVE MODE';
    END IF;
    PERFORM edu_matrix_hub_schema._refuse_dependents(namespace, 'remove them, and call again');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._lock_and_look(oid, oid[]) FROM PUBLIC;

-- Takes away a part of what hangs on the first table that is heavier than the budget, and returns the statements; none when
-- there is no such table, or nothing that can go by itself.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._lighten(namespace oid, budget bigint) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    heavy      oid;
    statements text[];
BEGIN
    SELECT w.object INTO heavy
    FROM edu_matrix_hub_schema._schema_weights(namespace) AS w
    JOIN pg_class AS c ON c.oid = w.object
    WHERE w.kind = 'table' AND w.weight > budget AND pg_has_role(c.relowner, 'USAGE')
      AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = w.object)
    ORDER BY w.object LIMIT 1;
    IF heavy IS NULL THEN
        RETURN '{}';
    END IF;
    PERFORM edu_matrix_hub_schema._lock_and_look(namespace, ARRAY[heavy]);
    SELECT coalesce(array_agg(s.statement), '{}') INTO statements
    FROM (SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', heavy::regclass, k.conname) AS statement
          FROM pg_constraint AS k WHERE k.conrelid = heavy AND k.contype IN ('c', 'u', 'x') AND k.conislocal AND k.coninhcount = 0
          UNION ALL
          SELECT format('DROP INDEX %s', i.indexrelid::regclass) FROM pg_index AS i
          WHERE i.indrelid = heavy AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid)
            AND NOT EXISTS (SELECT FROM pg_inherits AS p WHERE p.inhrelid = i.indexrelid)
          UNION ALL
          SELECT format('DROP TRIGGER %I ON %s', t.tgname, heavy::regclass) FROM pg_trigger AS t WHERE t.tgrelid = heavy AND NOT t.tgisinternal AND t.tgparentid = 0
          UNION ALL
          SELECT format('DROP POLICY %I ON %s', p.polname, heavy::regclass) FROM pg_policy AS p WHERE p.polrelid = heavy
          UNION ALL
          SELECT format('DROP RULE %I ON %s', u.rulename, heavy::regclass) FROM pg_rewrite AS u WHERE u.ev_class = heavy
          LIMIT least(200, budget / 4)) AS s;
    FOR i IN 1..cardinality(statements) LOOP
        EXECUTE statements[i];
    END LOOP;
    RETURN statements;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._lighten(oid, bigint) FROM PUBLIC;

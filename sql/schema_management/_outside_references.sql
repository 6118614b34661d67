-- What in a schema reaches outside and would block what lives there once the schema is set aside: foreign keys
-- (their rows could not be deleted), views and functions with SQL-standard bodies (their tables could not be
-- dropped). For each: what it is, the statement that takes the reference away, and the one that makes it again,
-- `remake`, with a `fallback`.
--
-- A foreign key is dropped. A view or function is replaced by an empty one with the same columns or arguments, so that
-- it keeps its grants, comments and triggers and all that depends on it inside the schema. What is made again is the
-- tenant's text, written by pg_catalog, and is run only as the tenant's owner. Reaching into pg_catalog,
-- information_schema or an extension blocks nothing. Materialized views hold data and stay as they are, as do defaults,
-- triggers and column types.
--
-- The tenant chooses how many there are, how long they are and how long it takes to write them, so all are bounded:
-- by the locks that a call may take, by what a manifest holds, and by the work (_definition_work); without `texts` none
-- are written. A reference beyond that is returned without statements; it is left as it is.
--
-- What takes a reference away is run with our rights, so there is no expression of the tenant in it, only
-- names and types: reading a constant again already runs its type's input function, and with it the checks of
-- the tenant's domains.
--
-- The server locks the tables of a view to write its text. A `patient` caller gets an error when it cannot; otherwise
-- the reference is returned without statements and with a `note`. `relations` are the tables that take part: of a
-- foreign key first its own.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._outside_references(oid, boolean);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._outside_references(namespace oid, patient boolean, texts boolean)
RETURNS TABLE (kind text, name text, take_away text, remake text, fallback text, relations bigint[], note text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    -- Replacing a view takes about eight locks.
    most        CONSTANT bigint := edu_matrix_hub_schema._lock_budget() / 8;
    -- As the catalogue stores them, which is several times what they are as text.
    most_bytes  CONSTANT integer := 8 * 1024 * 1024;
    total_bytes CONSTANT integer := 64 * 1024 * 1024;
    -- Some seconds at the worst.
    total_work  CONSTANT integer := 16 * 1024 * 1024;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace
                   AND d.classid NOT IN ('pg_publication_namespace'::regclass, 'pg_default_acl'::regclass)) THEN
        -- It is empty. The server plans the query below again after every change of a schema, which takes
        -- longer than running it.
        RETURN;
    END IF;
    RETURN QUERY
    WITH member AS MATERIALIZED (
        -- Not _schema_members: of a million types none has such a reference.
        SELECT d.classid, d.objid
        FROM pg_depend AS d
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace
          AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
    ), reaching AS (
        SELECT m.objid AS relation, NULL::oid AS function, u.oid AS object, 'pg_rewrite'::regclass AS catalogue,
               octet_length(u.ev_action::text)::bigint AS bytes
        FROM member AS m JOIN pg_rewrite AS u ON m.classid = 'pg_class'::regclass AND u.ev_class = m.objid
          AND u.rulename = '_RETURN'
        JOIN pg_class AS c ON c.oid = m.objid AND c.relkind = 'v'
        UNION ALL
        SELECT NULL, p.oid, p.oid, 'pg_proc'::regclass,
               octet_length(p.prosqlbody::text)::bigint + coalesce(octet_length(p.proargdefaults::text), 0)
                   + coalesce(octet_length(p.proconfig::text), 0)
        FROM member AS m JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
          AND p.prosqlbody IS NOT NULL
    ), outward AS (
        SELECT r.relation, r.function, NULL::oid AS constraint_id, r.bytes,
               array_agg(DISTINCT d.refobjid::bigint) FILTER (WHERE d.refclassid = 'pg_class'::regclass) AS relations
        FROM reaching AS r
        JOIN pg_depend AS d ON d.classid = r.catalogue AND d.objid = r.object
        CROSS JOIN LATERAL (SELECT edu_matrix_hub_schema._home_schema(d.refclassid, d.refobjid) AS oid) AS home
        WHERE home.oid IS NOT NULL AND home.oid NOT IN (namespace, 'pg_catalog'::regnamespace,
                                                        'information_schema'::regnamespace, 'pg_toast'::regnamespace)
          AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = d.refclassid
                            AND e.objid = d.refobjid AND e.deptype = 'e')
        GROUP BY r.relation, r.function, r.bytes
        UNION ALL
        SELECT NULL, NULL, k.oid, coalesce((SELECT sum(octet_length(d.description)) FROM pg_description AS d
                                            WHERE d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid), 0),
               ARRAY[k.conrelid, k.confrelid]::bigint[]
        FROM member AS m
        JOIN pg_constraint AS k ON m.classid = 'pg_class'::regclass AND k.conrelid = m.objid
         AND k.contype = 'f' AND k.conparentid = 0
        JOIN pg_class AS target ON target.oid = k.confrelid AND target.relnamespace <> namespace
    ), bounded AS MATERIALIZED (
        -- Foreign keys first: they alone change what others can do with their rows.
        SELECT o.relation, o.function, o.constraint_id, o.relations,
               (texts OR o.constraint_id IS NOT NULL) AND o.bytes <= most_bytes AND row_number() OVER running <= most
               AND w.work <= total_work AND sum(least(o.bytes, most_bytes)) OVER running <= total_bytes
               AND sum(least(w.work, total_work)) OVER running <= total_work AS fits
        FROM outward AS o
        CROSS JOIN LATERAL (SELECT coalesce((SELECT edu_matrix_hub_schema._definition_work(u.ev_action::text)
                                             FROM pg_rewrite AS u
                                             WHERE u.ev_class = o.relation AND u.rulename = '_RETURN'),
                                            (SELECT edu_matrix_hub_schema._definition_work(p.prosqlbody::text)
                                             FROM pg_proc AS p WHERE p.oid = o.function), 0) AS work) AS w
        WINDOW running AS (ORDER BY o.constraint_id NULLS LAST, o.bytes, o.relation,
                           o.function ROWS UNBOUNDED PRECEDING)
    ), found AS (
        SELECT 'foreign key' AS kind, format('%s.%I', k.conrelid::regclass, k.conname) AS name,
               CASE WHEN b.fits THEN
                   format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) END AS take_away,
               CASE WHEN b.fits THEN
                   format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::regclass, k.conname,
                          pg_get_constraintdef(k.oid))
                   || edu_matrix_hub_schema._comment_on_constraint(k.oid) END AS remake,
               CASE WHEN b.fits THEN
                   format('ALTER TABLE %s ADD CONSTRAINT %I %s NOT VALID', k.conrelid::regclass, k.conname,
                          replace(pg_get_constraintdef(k.oid), ' NOT VALID', ''))
                   || edu_matrix_hub_schema._comment_on_constraint(k.oid) END AS fallback,
               b.relations, NULL AS note
        FROM bounded AS b JOIN pg_constraint AS k ON k.oid = b.constraint_id
        UNION ALL
        -- WITH CHECK OPTION says what may be written through a view, and nothing can be written through an empty one.
        SELECT 'view', b.relation::regclass::text,
               CASE WHEN f.text IS NOT NULL THEN format('CREATE OR REPLACE VIEW %s (%s)%s AS SELECT %s WHERE false',
                                                        b.relation::regclass, a.names, w.without_check, a.nothing) END,
               format('CREATE OR REPLACE VIEW %s (%s)%s AS ', b.relation::regclass, a.names, w.options) || f.text,
               NULL, b.relations, f.note
        FROM bounded AS b
        JOIN pg_class AS c ON c.oid = b.relation
        CROSS JOIN LATERAL edu_matrix_hub_schema._definition(c.oid, NULL, b.fits, patient) AS f
        CROSS JOIN LATERAL (
            SELECT coalesce(' WITH (' || string_agg(o, ', ' ORDER BY n) || ')', '') AS options,
                   coalesce(' WITH (' || string_agg(o, ', ' ORDER BY n) FILTER (
                       WHERE NOT starts_with(o, 'check_option=')) || ')', '') AS without_check
            FROM unnest(c.reloptions) WITH ORDINALITY AS u (o, n)
        ) AS w
        CROSS JOIN LATERAL (
            SELECT string_agg(quote_ident(t.attname), ', ' ORDER BY t.attnum) AS names,
                   string_agg(format('NULL::%s', format_type(t.atttypid, t.atttypmod))
                              || coalesce((SELECT format(' COLLATE %I.%I', n.nspname, l.collname) FROM pg_collation AS l
                                           JOIN pg_namespace AS n ON n.oid = l.collnamespace
                                           WHERE l.oid = t.attcollation AND t.attcollation <> y.typcollation), ''),
                              ', ' ORDER BY t.attnum) AS nothing
            FROM pg_attribute AS t JOIN pg_type AS y ON y.oid = t.atttypid
            WHERE t.attrelid = b.relation AND t.attnum > 0
        ) AS a
        UNION ALL
        SELECT 'function', b.function::regprocedure::text,
               CASE WHEN f.text IS NOT NULL THEN
                   format('CREATE OR REPLACE %s %I.%I(%s)%s LANGUAGE plpgsql AS %L',
                          CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, n.nspname, p.proname,
                          edu_matrix_hub_schema._arguments_without_defaults(p.oid),
                          coalesce(' RETURNS ' || pg_get_function_result(p.oid), ''),
                          'BEGIN RAISE EXCEPTION ''this function was set aside with its schema''; END') END,
               f.text, NULL, b.relations, f.note
        FROM bounded AS b
        JOIN pg_proc AS p ON p.oid = b.function
        CROSS JOIN LATERAL edu_matrix_hub_schema._definition(NULL, p.oid, b.fits, patient) AS f
        JOIN pg_namespace AS n ON n.oid = p.pronamespace
    )
    -- In the order in which they are made again: checking a foreign key may run an index expression that
    -- calls a function.
    SELECT f.kind, f.name, f.take_away, f.remake, f.fallback, f.relations, f.note
    FROM found AS f ORDER BY f.kind = 'foreign key', f.kind, f.name;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._outside_references(oid, boolean, boolean) FROM PUBLIC;

-- The text of a view's query, or of a function, if it is wanted; or why there is none. A `patient` caller gets an error
-- for what may pass.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._definition(relation oid, function oid, wanted boolean,
                                                             patient boolean, OUT text text, OUT note text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    IF NOT wanted THEN
        note := 'it is too long, or one of too many, or takes too long to write';
        RETURN;
    END IF;
    text := CASE WHEN relation IS NOT NULL THEN pg_get_viewdef(relation) ELSE pg_get_functiondef(function) END;
EXCEPTION WHEN OTHERS THEN
    IF patient AND edu_matrix_hub_schema._may_pass(SQLSTATE, SQLERRM) THEN
        RAISE;
    END IF;
    note := SQLERRM;
    PERFORM set_config('lock_timeout', '20ms', true);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._definition(oid, oid, boolean, boolean) FROM PUBLIC;

-- The statement that gives a constraint its comment again, after a semicolon, or nothing.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._comment_on_constraint(wanted oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce((SELECT format('; COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname,
                                   k.conrelid::regclass, d.description)
                     FROM pg_description AS d JOIN pg_constraint AS k ON k.oid = d.objoid
                     WHERE d.classoid = 'pg_constraint'::regclass AND d.objoid = wanted), '')
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._comment_on_constraint(oid) FROM PUBLIC;

-- The arguments of a function as CREATE OR REPLACE wants them again, with NULL for every default: it has the type that
-- it needs, and unlike the tenant's own default nothing is run when it is read.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._arguments_without_defaults(function oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(string_agg(concat_ws(' ', CASE a.mode WHEN 'o' THEN 'OUT' WHEN 'b' THEN 'INOUT'
                                                   WHEN 'v' THEN 'VARIADIC' END,
                                         quote_ident(nullif(a.name, '')), format_type(a.type, NULL),
                                         CASE WHEN a.is_input AND a.inputs > p.pronargs - p.pronargdefaults THEN
                                                  'DEFAULT NULL' END), ', ' ORDER BY a.n), '')
    FROM pg_proc AS p
    CROSS JOIN LATERAL (
        SELECT u.n, u.type, p.proargnames[u.n] AS name, m.mode, m.mode IN ('i', 'b', 'v') AS is_input,
               count(*) FILTER (WHERE m.mode IN ('i', 'b', 'v')) OVER (ORDER BY u.n) AS inputs
        FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY AS u (type, n)
        CROSS JOIN LATERAL (SELECT coalesce(p.proargmodes[u.n]::text, 'i') AS mode) AS m
    ) AS a
    WHERE p.oid = $1 AND a.mode <> 't'
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._arguments_without_defaults(oid) FROM PUBLIC;

-- Puts into schema public what a user who may create there and change settings could put in the way of names: of every
-- operator and function of pg_catalog that can be written again a copy, tables of the catalogue's names, and types of
-- the names of built-in ones whose casts run a check. Each first counts in public.ran, a sequence, which no rollback
-- undoes.
SET search_path = pg_catalog;
SET client_min_messages = error;
GRANT ALL ON SCHEMA public TO PUBLIC;
CREATE SEQUENCE public.ran;
GRANT ALL ON SEQUENCE public.ran TO PUBLIC;
CREATE FUNCTION public.tell() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN PERFORM pg_catalog.nextval('public.ran'); RETURN true; END $$;
DO $$
DECLARE
    f         record;
    o         record;
    operators integer := 0;
    functions integer := 0;
BEGIN
    FOR f IN SELECT p.oid, p.proname, p.pronargs, pg_get_function_arguments(p.oid) AS arguments,
                    pg_get_function_result(p.oid) AS result
             FROM pg_proc AS p
             WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset
               AND p.oid NOT IN (SELECT oprcode::oid FROM pg_operator UNION SELECT typinput::oid FROM pg_type
                                 UNION SELECT typoutput::oid FROM pg_type)
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                           f.proname, f.arguments, f.result,
                           format('BEGIN PERFORM public.tell(); RETURN pg_catalog.%I(%s); END', f.proname,
                                  (SELECT string_agg('$' || n, ', ' ORDER BY n)
                                   FROM generate_series(1, f.pronargs) AS n)));
            functions := functions + 1;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR o IN SELECT p.oid, p.oprname, p.oprleft, p.oprright, p.oprresult FROM pg_operator AS p
             WHERE p.oprnamespace = 'pg_catalog'::regnamespace AND p.oprleft <> 0 LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION public.op_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L',
                           o.oid, o.oprleft::regtype, o.oprright::regtype, o.oprresult::regtype,
                           format('BEGIN PERFORM public.tell(); RETURN $1 OPERATOR(pg_catalog.%s) $2; END',
                                  o.oprname));
            EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.op_%s)',
                           o.oprname, o.oprleft::regtype, o.oprright::regtype, o.oid);
            operators := operators + 1;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    IF operators < 500 OR functions < 1000 THEN
        RAISE EXCEPTION 'only % operators and % functions were planted', operators, functions;
    END IF;
END
$$;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['text', 'uuid', 'jsonb', 'name', 'oid', 'int8', 'int4', 'bool', 'numeric', 'regrole',
                                'regclass', 'regnamespace', 'timestamptz'] LOOP
        EXECUTE format('CREATE DOMAIN public.%1$I AS pg_catalog.%1$I CHECK (public.tell())', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['pg_roles', 'pg_namespace', 'pg_database', 'pg_proc', 'pg_class',
                                'pg_stat_activity'] LOOP
        EXECUTE format('CREATE VIEW public.%1$I AS SELECT * FROM pg_catalog.%1$I WHERE public.tell()', name);
        EXECUTE format('GRANT ALL ON public.%I TO PUBLIC', name);
    END LOOP;
END
$$;
RESET search_path;
RESET client_min_messages;

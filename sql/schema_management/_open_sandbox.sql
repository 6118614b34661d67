-- Prepares a place in which statements run as a tenant's owner and as no other role, and returns its
-- name, a schema of ours.
--
-- Reading a tenant's table runs the tenant's code: the planner alone folds the expressions of its indexes and
-- statistics. Its definitions are code as well. Both therefore run inside REFRESH of a materialized view that belongs
-- to the tenant's owner: the server switches to that role, keeps the code from changing role, session, prepared
-- statements, temporary tables, cursors and deferred triggers (a security-restricted operation), and afterwards
-- restores every setting.
--
--   work    what to run, in order; `fallback` is run when `statement` fails, and an `optional` failure is only noted
--   result  where the statements leave what they found
--   run     does the work as the role that calls it
--   once    the view of the tenant's owner whose query is run()
--   enter   SECURITY DEFINER of the tenant's owner: refreshes `once`, so that a session that enters later needs no
--           membership
--
-- The tenant's owner gets USAGE only in the transaction that enters, so that no role outside of it can name anything
-- here. The membership that handing over needs is given back at once: a job opens its sandbox in a short transaction of
-- its own, since an uncommitted membership would keep others from suspending the tenant while a long copy runs.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._open_sandbox(schema_id uuid) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    sandbox CONSTANT text := 'edu_matrix_work_' || replace(gen_random_uuid()::text, '-', '');
    owner   text;
BEGIN
    SELECT t.owner_role INTO STRICT owner FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = schema_id;
    EXECUTE format('CREATE SCHEMA %I', sandbox);
    EXECUTE format('CREATE TABLE %I.work (step integer PRIMARY KEY, statement text NOT NULL, fallback text, '
                   'optional boolean NOT NULL)', sandbox);
    EXECUTE format('CREATE TABLE %I.result (step integer NOT NULL, value jsonb)', sandbox);
    PERFORM edu_matrix_hub_schema._no_row_security(sandbox);
    EXECUTE format($create$
        CREATE FUNCTION %1$I.run() RETURNS boolean
        LANGUAGE plpgsql VOLATILE SECURITY INVOKER
        SET search_path = pg_catalog, pg_temp SET row_security = off
        SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
        SET bytea_output = 'hex' SET lc_monetary = 'C' SET xmlbinary = 'base64' SET check_function_bodies = off
        AS $run$
        DECLARE
            task record;
        BEGIN
            FOR task IN SELECT w.step, w.statement, w.fallback, w.optional FROM %1$I.work AS w ORDER BY w.step LOOP
                IF task.fallback IS NULL AND NOT task.optional THEN
                    EXECUTE task.statement;
                    CONTINUE;
                END IF;
                BEGIN
                    EXECUTE task.statement;
                EXCEPTION WHEN assert_failure OR OTHERS THEN
                    INSERT INTO %1$I.result
                    VALUES (task.step, jsonb_build_object('error', left(SQLERRM, 500), 'sqlstate', SQLSTATE));
                    -- A session that holds one lock often holds more: the others are tried and not waited for.
                    IF SQLSTATE = '55P03' THEN
                        PERFORM set_config('lock_timeout', '20ms', true);
                    END IF;
                    BEGIN
                        EXECUTE coalesce(task.fallback, 'SELECT 1');
                    EXCEPTION WHEN assert_failure OR OTHERS THEN
                        IF NOT task.optional THEN
                            RAISE;
                        END IF;
                        INSERT INTO %1$I.result
                        VALUES (task.step, jsonb_build_object('fallback_error', SQLERRM, 'sqlstate', SQLSTATE));
                    END;
                END;
            END LOOP;
            RETURN true;
        END
        $run$
        $create$, sandbox);
    EXECUTE format('CREATE MATERIALIZED VIEW %1$I.once AS SELECT %1$I.run() AS done WITH NO DATA', sandbox);
    EXECUTE format($create$
        CREATE FUNCTION %1$I.enter() RETURNS void
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp
        AS $enter$BEGIN REFRESH MATERIALIZED VIEW %1$I.once; END$enter$
        $create$, sandbox);
    EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA %I FROM PUBLIC', sandbox);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC', sandbox);
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', sandbox);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.run() TO %I', sandbox, owner);

    PERFORM edu_matrix_hub_schema._grant_tenant_owner(schema_id);
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', sandbox, owner);
    EXECUTE format('ALTER MATERIALIZED VIEW %I.once OWNER TO %I', sandbox, owner);
    EXECUTE format('ALTER FUNCTION %I.enter() OWNER TO %I', sandbox, owner);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I.enter() TO %I', sandbox, current_user);
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', sandbox, owner);
    PERFORM edu_matrix_hub_schema._revoke_tenant_owner(schema_id);
    RETURN sandbox;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._open_sandbox(uuid) FROM PUBLIC;

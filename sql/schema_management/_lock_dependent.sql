-- Locks a view or function, so that no session changes or drops it before the transaction ends, and says whether it
-- is still there under its name. There is no LOCK that leaves alone what a view reads, and none for functions; so it is
-- given the owner that it has, which takes the lock that dropping it takes. A function is given the mode that it has as
-- well: replacing it takes no lock, but waits for a change of its row.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._lock_dependent(grantee uuid, key bigint, patient boolean)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    tenant  edu_matrix_hub_schema.tenant_schemas;
    object  record;
    locking text;
BEGIN
    SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = grantee;
    SELECT n.kind, n.name INTO object FROM edu_matrix_hub_schema._dependent_name(key) AS n;
    IF object.name IS NULL THEN
        RETURN false;
    END IF;
    locking := format('ALTER %s %s OWNER TO %I', object.kind, object.name, tenant.owner_role)
        || coalesce((SELECT format('; ALTER ROUTINE %s SECURITY %s', object.name,
                                   CASE WHEN p.prosecdef THEN 'DEFINER' ELSE 'INVOKER' END)
                     FROM pg_proc AS p
                     WHERE (key >> 32)::oid = 'pg_proc'::regclass AND p.oid = (key & 4294967295)::oid), '');
    FOR attempt IN 1..2 LOOP
        BEGIN
            EXECUTE locking;
            EXIT;
        EXCEPTION
            WHEN lock_not_available THEN
                IF attempt = 2 OR patient OR NOT edu_matrix_hub_schema._end_holders(tenant, key) THEN
                    PERFORM edu_matrix_hub_schema._refuse_in_use(grantee, key);
                END IF;
            WHEN undefined_table OR undefined_function OR undefined_object OR wrong_object_type
                 OR invalid_schema_name THEN
                RETURN false;
        END;
    END LOOP;
    -- What has the name now may be another one than was asked for.
    RETURN EXISTS (SELECT FROM edu_matrix_hub_schema._dependent_name(key) AS n
                   WHERE n.kind = object.kind AND n.name = object.name);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._lock_dependent(uuid, bigint, boolean) FROM PUBLIC;

-- Refuses since another session, or a prepared transaction, holds a view or function.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._refuse_in_use(grantee uuid, key bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    relation CONSTANT oid := CASE (key >> 32)::oid WHEN 'pg_class'::regclass THEN (key & 4294967295)::oid END;
    blocker  jsonb;
BEGIN
    SELECT CASE WHEN h.pid IS NOT NULL
                THEN jsonb_build_object('pid', h.pid, 'role', h.login, 'text', format(
                    'session %s of login "%s" holds it; end its transaction, or as a superuser or a member of its '
                    'role: SELECT pg_terminate_backend(%1$s)', h.pid, h.login))
                ELSE jsonb_build_object('prepared', h.prepared, 'role', h.login, 'text', format(
                    'transaction %L, prepared by role "%s", holds it; end it as that role or a superuser: '
                    'ROLLBACK PREPARED %1$L', h.prepared, h.login)) END
    INTO blocker
    FROM edu_matrix_hub_schema._holders(key) AS h ORDER BY h.pid LIMIT 1;
    PERFORM edu_matrix_hub_schema._refuse('busy',
        (SELECT format('%s %s, which ends with it, is in use', n.kind, edu_matrix_hub_schema._cut(n.name))
         FROM edu_matrix_hub_schema._dependent_name(key) AS n),
        jsonb_build_object('sqlstate', '55P03',
                           'blocker', coalesce(blocker,
                                               edu_matrix_hub_schema._blocker(grantee, ARRAY[relation]))));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._refuse_in_use(uuid, bigint) FROM PUBLIC;

-- The sessions and prepared transactions that keep a view or function from being locked or dropped: those that hold a
-- lock on it, on a part of it, such as its row type, or on a temporary view or table over it, which falls with it; or
-- have changed it, such as the rights on it, and not committed that.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._holders(key bigint)
RETURNS TABLE (pid integer, login text, prepared text)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH RECURSIVE falling AS (
        SELECT ($1 >> 32)::oid AS classid, ($1 & 4294967295)::oid AS objid
        UNION
        SELECT (k.key >> 32)::oid, (k.key & 4294967295)::oid
        FROM falling AS f
        CROSS JOIN LATERAL (
            SELECT f.classid, f.objid
            UNION ALL
            SELECT 'pg_type'::regclass, y.oid
            FROM pg_class AS c
            JOIN pg_type AS r ON r.oid = c.reltype
            CROSS JOIN LATERAL (VALUES (r.oid), (r.typarray)) AS y (oid)
            WHERE f.classid = 'pg_class'::regclass AND c.oid = f.objid) AS p
        JOIN pg_depend AS d ON d.refclassid = p.classid AND d.refobjid = p.objid
        CROSS JOIN LATERAL (SELECT edu_matrix_hub_schema._whole_key(d.classid, d.objid) AS key) AS k
        JOIN pg_namespace AS n ON left(n.nspname, 8) = 'pg_temp_'
          AND n.oid = edu_matrix_hub_schema._home_schema((k.key >> 32)::oid, (k.key & 4294967295)::oid)
    ), part AS (
        SELECT f.classid, f.objid FROM falling AS f
        UNION ALL
        SELECT d.classid, d.objid FROM pg_depend AS d
        WHERE d.refclassid = ($1 >> 32)::oid AND d.refobjid = ($1 & 4294967295)::oid AND d.deptype IN ('i', 'a')
        UNION ALL
        SELECT 'pg_type'::regclass, y.typarray FROM pg_type AS y
        WHERE ($1 >> 32)::oid = 'pg_class'::regclass AND y.typrelid = ($1 & 4294967295)::oid
    ), changed AS (
        SELECT p.xmax AS by FROM pg_proc AS p
        WHERE ($1 >> 32)::oid = 'pg_proc'::regclass AND p.oid = ($1 & 4294967295)::oid
        UNION ALL
        SELECT c.xmax FROM pg_class AS c
        WHERE ($1 >> 32)::oid = 'pg_class'::regclass AND c.oid = ($1 & 4294967295)::oid
        UNION ALL
        SELECT a.xmax FROM pg_attribute AS a
        WHERE ($1 >> 32)::oid = 'pg_class'::regclass AND a.attrelid = ($1 & 4294967295)::oid
        UNION ALL
        SELECT y.xmax FROM pg_class AS c JOIN pg_type AS y ON y.oid = c.reltype
        WHERE ($1 >> 32)::oid = 'pg_class'::regclass AND c.oid = ($1 & 4294967295)::oid
    ), lock AS MATERIALIZED (
        SELECT l.* FROM pg_locks AS l WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
    ), held AS (
        SELECT l.pid, l.virtualtransaction
        FROM lock AS l
        JOIN part AS p ON l.locktype = 'relation' AND p.classid = 'pg_class'::regclass AND l.relation = p.objid
                       OR l.locktype = 'object' AND l.classid = p.classid AND l.objid = p.objid
        WHERE l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        UNION
        SELECT l.pid, l.virtualtransaction
        FROM lock AS l
        JOIN changed AS c ON l.locktype = 'transactionid' AND l.transactionid = c.by
    )
    SELECT DISTINCT a.pid, coalesce(a.usename, x.owner)::text, x.gid
    FROM held AS h
    LEFT JOIN pg_stat_activity AS a ON a.pid = h.pid
    LEFT JOIN lock AS o ON h.pid IS NULL AND o.pid IS NULL AND o.locktype = 'transactionid'
      AND o.virtualtransaction = h.virtualtransaction
    LEFT JOIN pg_prepared_xacts AS x ON x.transaction = o.transactionid
    WHERE a.pid IS NOT NULL OR x.gid IS NOT NULL
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._holders(bigint) FROM PUBLIC;

-- Ends those of a tenant's logins, or without a key all sessions of these, and says whether there were any.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_holders(tenant edu_matrix_hub_schema.tenant_schemas, key bigint)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    holders integer[];
    logins  text[];
BEGIN
    PERFORM pg_stat_clear_snapshot();
    SELECT array_agg(a.pid), array_agg(DISTINCT a.usename::text) INTO holders, logins
    FROM pg_stat_activity AS a
    WHERE a.datname = current_database() AND a.usename = ANY (edu_matrix_hub_schema._own_logins(tenant))
      AND (key IS NULL OR a.pid IN (SELECT h.pid FROM edu_matrix_hub_schema._holders(key) AS h));
    IF holders IS NULL THEN
        RETURN false;
    END IF;
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', logins);
    PERFORM pg_terminate_backend(h.pid, 2000) FROM unnest(holders) AS h (pid);
    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', logins);
    PERFORM edu_matrix_hub_schema._log_ended_sessions(tenant.id, clock_timestamp(),
        'end sessions that held what ends with another tenant', jsonb_build_object('ended', holders));
    RETURN true;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_holders(edu_matrix_hub_schema.tenant_schemas, bigint) FROM PUBLIC;

-- Removes what ends with a tenant by the word of those that have a grant of it (_grantee_dependents), keeps what makes
-- it again in taken_dependents, and returns it: [{schema_id, kind, name}...]. `wanted` are those that the caller saw
-- and has asked about. Without a backup it is a turn of several, of the latest of them, and the others stay.
--
-- Each is locked before it is read, so that what is recorded is what is removed; one that is made meanwhile joins them.
-- A tenant chooses what it makes and which session of its holds it. A definition that cannot be read is not kept, and
-- says so. A lock is waited for in further calls; after ten minutes the sessions of that tenant's logins that have it
-- are ended. Another user's session stays, and is named.
--
-- The caller holds the grantor's locks and runs this in a sub-block.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._take_dependents(
    grantor edu_matrix_hub_schema.tenant_schemas, namespace oid, backup_id uuid, wanted bigint[], requested_by text
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started  CONSTANT timestamptz := clock_timestamp();
    patient  CONSTANT boolean := NOT edu_matrix_hub_schema._waited_long(grantor.id, 'set_aside');
    items    jsonb := '[]'::jsonb;
    locked   bigint[] := '{}'::bigint[];
    grantees uuid[] := '{}'::uuid[];
    item     record;
    dropped  bigint[];
BEGIN
    IF wanted = '{}' THEN
        RETURN items;
    END IF;
    FOR attempt IN 1..5 LOOP
        FOR item IN
            SELECT d.key, d.grantee FROM edu_matrix_hub_schema._grantee_dependents(grantor.id, namespace) AS d
            WHERE d.key IS NOT NULL AND d.key <> ALL (locked) AND (backup_id IS NOT NULL OR d.key = ANY (wanted))
            ORDER BY d.grantee, d.key
        LOOP
            IF item.grantee <> ALL (grantees) THEN
                PERFORM edu_matrix_hub_schema._enter_grantee(item.grantee);
                grantees := grantees || item.grantee;
            END IF;
            PERFORM edu_matrix_hub_schema._lock_dependent(item.grantee, item.key, patient);
            locked := locked || item.key;
            items := items || jsonb_build_object('key', item.key, 'grantee', item.grantee);
        END LOOP;
        EXIT WHEN NOT FOUND;
        IF attempt = 5 THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', 'those that have a grant of it go on making views over it');
        END IF;
    END LOOP;
    items := edu_matrix_hub_schema._read_dependents(items, patient);
    dropped := edu_matrix_hub_schema._drop_dependents(namespace, items, backup_id IS NOT NULL);
    INSERT INTO edu_matrix_hub_schema.taken_dependents AS d
        (schema_id, grantor_id, backup_id, kind, name, remake, acl, note)
    SELECT (i.value ->> 'grantee')::uuid, grantor.id, backup_id, i.value ->> 'kind', i.value ->> 'name',
           ARRAY(SELECT jsonb_array_elements_text(i.value -> 'remake')), i.value -> 'acl', i.value ->> 'note'
    FROM jsonb_array_elements(items) AS i (value)
    WHERE (i.value ->> 'key')::bigint = ANY (dropped)
    ORDER BY array_position(dropped, (i.value ->> 'key')::bigint);
    UPDATE edu_matrix_hub_schema.taken_dependents AS d SET backup_id = _take_dependents.backup_id
    WHERE d.grantor_id = grantor.id AND d.backup_id IS NULL AND _take_dependents.backup_id IS NOT NULL;
    FOR item IN
        SELECT (i.value ->> 'grantee')::uuid AS id, count(*) AS count,
               jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                   'kind', i.value -> 'kind', 'name', i.value -> 'name', 'note', i.value -> 'note'))) AS facts
        FROM jsonb_array_elements(items) AS i (value)
        WHERE (i.value ->> 'key')::bigint = ANY (dropped)
        GROUP BY 1
    LOOP
        PERFORM edu_matrix_hub_schema._revoke_tenant_owner(item.id);
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET reported = NULL, updated_at = now() WHERE t.id = item.id;
        PERFORM edu_matrix_hub_schema._log(item.id, 'take_dependents', 'success', requested_by, started,
            format('remove %s views and functions over schema "%s", which is set aside', item.count,
                   grantor.schema_name),
            jsonb_build_object('grantor_id', grantor.id, 'backup_id', backup_id, 'removed', item.facts));
        grantees := array_remove(grantees, item.id);
    END LOOP;
    PERFORM edu_matrix_hub_schema._revoke_tenant_owner(g.id) FROM unnest(grantees) AS g (id);
    RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('schema_id', i.value -> 'grantee', 'kind', i.value -> 'kind',
                                                         'name', i.value -> 'name')), '[]')
            FROM jsonb_array_elements(items) AS i (value)
            WHERE (i.value ->> 'key')::bigint = ANY (dropped));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._take_dependents(edu_matrix_hub_schema.tenant_schemas, oid, uuid, bigint[],
                                                              text) FROM PUBLIC;

-- How many of them one call removes.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._dependents_at_once() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    -- Removing a view takes about eight locks.
    SELECT least(300, edu_matrix_hub_schema._lock_budget() / 8)::integer
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._dependents_at_once() FROM PUBLIC;

-- Makes our role a member of a grantee's owner role, which no other call does at the same time.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._enter_grantee(grantee uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    IF NOT edu_matrix_hub_schema._tenant_lock(grantee, 'access', true) THEN
        PERFORM edu_matrix_hub_schema._refuse('busy',
            format('another call is at work on schema "%s", whose views over it end with it',
                   (SELECT t.schema_name FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = grantee)));
    END IF;
    PERFORM edu_matrix_hub_schema._grant_tenant_owner(grantee);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._enter_grantee(uuid) FROM PUBLIC;

-- What an object is and how a statement names it; nothing when it is gone.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._dependent_name(key bigint, OUT kind text, OUT name text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, format('%I.%I', n.nspname, c.relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE ($1 >> 32)::oid = 'pg_class'::regclass AND c.oid = ($1 & 4294967295)::oid
    UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, edu_matrix_hub_schema._routine_name(p.oid)
    FROM pg_proc AS p
    WHERE ($1 >> 32)::oid = 'pg_proc'::regclass AND p.oid = ($1 & 4294967295)::oid
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._dependent_name(bigint) FROM PUBLIC;

-- Locks one, so that nobody changes or drops it before the transaction ends. There is no LOCK that leaves alone what a
-- view reads, and none for functions; so it is given the owner, or the mode, that it has.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._lock_dependent(grantee uuid, key bigint, patient boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    relation CONSTANT oid := CASE (key >> 32)::oid WHEN 'pg_class'::regclass THEN (key & 4294967295)::oid END;
    tenant   edu_matrix_hub_schema.tenant_schemas;
    object   record;
    locking  text;
BEGIN
    SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = grantee;
    SELECT * INTO object FROM edu_matrix_hub_schema._dependent_name(key);
    locking := CASE WHEN relation IS NOT NULL
                    THEN format('ALTER %s %s OWNER TO %I', object.kind, object.name, tenant.owner_role)
                    ELSE (SELECT format('ALTER ROUTINE %s SECURITY %s', object.name,
                                        CASE WHEN p.prosecdef THEN 'DEFINER' ELSE 'INVOKER' END)
                          FROM pg_proc AS p WHERE p.oid = (key & 4294967295)::oid) END;
    FOR attempt IN 1..2 LOOP
        BEGIN
            EXECUTE locking;
            EXIT;
        EXCEPTION
            WHEN lock_not_available THEN
                IF attempt = 2 OR patient OR NOT edu_matrix_hub_schema._end_holders(tenant, key) THEN
                    PERFORM edu_matrix_hub_schema._refuse('busy',
                        format('%s %s, which ends with it, is in use', object.kind,
                               edu_matrix_hub_schema._cut(object.name)),
                        jsonb_build_object('sqlstate', SQLSTATE, 'blocker', coalesce(
                            (SELECT jsonb_build_object('pid', h.pid, 'role', h.login, 'text', format(
                                 'session %s of login "%s" holds it; end its transaction, or as a superuser or a '
                                 'member of its role: SELECT pg_terminate_backend(%1$s)', h.pid, h.login))
                             FROM edu_matrix_hub_schema._holders(key) AS h ORDER BY h.pid LIMIT 1),
                            edu_matrix_hub_schema._blocker(grantee, ARRAY[relation]))));
                END IF;
            WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR null_value_not_allowed THEN
                PERFORM edu_matrix_hub_schema._refuse('busy',
                    format('a %s of schema "%s", which ends with it, was changed just now: %s', object.kind,
                           tenant.schema_name, SQLERRM), jsonb_build_object('sqlstate', SQLSTATE));
        END;
    END LOOP;
    -- What has the name now may be another one than was asked for.
    IF object IS DISTINCT FROM edu_matrix_hub_schema._dependent_name(key) THEN
        PERFORM edu_matrix_hub_schema._refuse('busy',
            format('%s %s, which ends with it, was changed just now', object.kind,
                   edu_matrix_hub_schema._cut(object.name)));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._lock_dependent(uuid, bigint, boolean) FROM PUBLIC;

-- The sessions that keep a view or function from being locked: those that hold a lock on the view, or have changed the
-- function and not committed that.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._holders(key bigint) RETURNS TABLE (pid integer, login text)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT DISTINCT a.pid, a.usename::text
    FROM pg_locks AS l
    JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.granted AND l.pid <> pg_backend_pid() AND a.datname = current_database()
      AND (l.locktype = 'relation' AND ($1 >> 32)::oid = 'pg_class'::regclass AND l.relation = ($1 & 4294967295)::oid
           OR l.locktype = 'transactionid' AND ($1 >> 32)::oid = 'pg_proc'::regclass
              AND l.transactionid = (SELECT p.xmax FROM pg_proc AS p WHERE p.oid = ($1 & 4294967295)::oid))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._holders(bigint) FROM PUBLIC;

-- Ends those of a tenant's logins, and says whether there were any.
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
    SELECT array_agg(h.pid), array_agg(DISTINCT h.login) INTO holders, logins
    FROM edu_matrix_hub_schema._holders(key) AS h
    WHERE h.login = ANY (edu_matrix_hub_schema._own_logins(tenant));
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

-- Adds to each what makes it again: kind, name, remake, acl, and `note` where that could not be read.
--
-- A tenant chooses how long they are and how long it takes to write them; so these are bounded as those of its own
-- references are (_outside_references).
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._read_dependents(items jsonb, patient boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    most_bytes  CONSTANT integer := 8 * 1024 * 1024;
    total_bytes CONSTANT integer := 64 * 1024 * 1024;
    total_work  CONSTANT integer := 16 * 1024 * 1024;
    whole       jsonb := '[]'::jsonb;
    item        record;
    facts       record;
    bytes       bigint := 0::bigint;
    work        bigint := 0::bigint;
BEGIN
    FOR item IN
        SELECT i.value AS told, (i.value ->> 'key')::bigint AS key, m.kind, m.name, o.definition,
               CASE WHEN m.kind LIKE '%view' THEN o.oid END AS relation,
               CASE WHEN m.kind NOT LIKE '%view' THEN o.oid END AS function
        FROM jsonb_array_elements(items) AS i (value)
        CROSS JOIN LATERAL edu_matrix_hub_schema._dependent_name((i.value ->> 'key')::bigint) AS m
        CROSS JOIN LATERAL (SELECT ((i.value ->> 'key')::bigint & 4294967295)::oid AS oid,
            CASE WHEN m.kind LIKE '%view'
                 THEN (SELECT u.ev_action::text FROM pg_rewrite AS u
                       WHERE u.ev_class = ((i.value ->> 'key')::bigint & 4294967295)::oid AND u.rulename = '_RETURN')
                 ELSE (SELECT concat(p.prosqlbody::text, p.proargdefaults::text, p.proconfig::text)
                       FROM pg_proc AS p WHERE p.oid = ((i.value ->> 'key')::bigint & 4294967295)::oid)
                 END AS definition) AS o
    LOOP
        bytes := bytes + least(octet_length(item.definition), most_bytes);
        work := work + least(edu_matrix_hub_schema._definition_work(item.definition), total_work);
        BEGIN
            SELECT NULL AS note, d.* INTO facts
            FROM edu_matrix_hub_schema._dependent_definition(item.relation, item.function,
                octet_length(item.definition) <= most_bytes AND bytes <= total_bytes AND work <= total_work,
                patient) AS d;
        EXCEPTION
            WHEN serialization_failure OR deadlock_detected THEN RAISE;
            WHEN OTHERS THEN
                IF patient AND edu_matrix_hub_schema._may_pass(SQLSTATE, SQLERRM) THEN
                    RAISE;
                END IF;
                SELECT 'its definition could not be read: ' || left(SQLERRM, 200) AS note, '{}'::text[] AS remake,
                       '[]'::jsonb AS acl INTO facts;
        END;
        whole := whole || (item.told || jsonb_build_object(
            'kind', item.kind, 'name', item.name, 'remake', to_jsonb(facts.remake), 'acl', facts.acl,
            'note', facts.note));
    END LOOP;
    RETURN whole;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._read_dependents(jsonb, boolean) FROM PUBLIC;

-- Drops them, as a member of their owners, and returns those that went in the order in which they did. The youngest
-- goes first, since most depend on older ones; what still has others in its way is tried again after these. When it is
-- the whole of them, what is left then has a temporary view in its way, which goes with it, or is part of a circle; the
-- others still go one after the other.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._drop_dependents(namespace oid, items jsonb, is_whole boolean)
RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET client_min_messages = warning
AS $function$
DECLARE
    dropped bigint[] := '{}'::bigint[];
    before  integer;
    item    record;
    others  text[];
    leaning bigint[];
    leant   bigint[];
    all_of_them bigint[];
BEGIN
    FOR attempt IN 1..6 LOOP
        before := cardinality(dropped);
        FOR item IN
            SELECT k.key, format('DROP %s %s', i.value ->> 'kind', i.value ->> 'name') AS statement
            FROM jsonb_array_elements(items) AS i (value)
            CROSS JOIN LATERAL (SELECT (i.value ->> 'key')::bigint AS key) AS k
            WHERE k.key <> ALL (dropped)
            ORDER BY (k.key & 4294967295) * CASE attempt % 2 WHEN 1 THEN -1 ELSE 1 END
        LOOP
            BEGIN
                EXECUTE item.statement;
                dropped := dropped || item.key;
            EXCEPTION WHEN dependent_objects_still_exist THEN
                NULL;
            END;
        END LOOP;
        EXIT WHEN cardinality(dropped) IN (before, jsonb_array_length(items));
    END LOOP;
    IF cardinality(dropped) = jsonb_array_length(items) OR NOT is_whole AND dropped <> '{}' THEN
        RETURN dropped;
    END IF;
    SELECT coalesce(array_agg((i.value ->> 'key')::bigint), '{}') INTO all_of_them
    FROM jsonb_array_elements(items) AS i (value);
    SELECT coalesce(array_agg(k.key), '{}'), coalesce(array_agg(k.leant), '{}') INTO leaning, leant
    FROM edu_matrix_hub_schema._leaning_on(ARRAY(SELECT unnest(all_of_them) EXCEPT SELECT unnest(dropped))) AS k;
    SELECT coalesce(array_agg(DISTINCT edu_matrix_hub_schema._cut(
               (pg_identify_object((k.key >> 32)::oid, (k.key & 4294967295)::oid, 0)).identity)), '{}') INTO others
    FROM unnest(leaning) AS k (key) WHERE k.key <> ALL (all_of_them);
    IF others = '{}' AND NOT is_whole THEN
        others := ARRAY['views and functions that depend on one another'];
    END IF;
    IF others <> '{}' THEN
        PERFORM edu_matrix_hub_schema._refuse_dependents(namespace, 'remove them, and call again', NULL, '{}', '{}',
                                                         others);
    END IF;
    WHILE cardinality(dropped) < jsonb_array_length(items) LOOP
        SELECT k.key, format('DROP %s IF EXISTS %s CASCADE', i.value ->> 'kind', i.value ->> 'name') AS statement
        INTO STRICT item
        FROM jsonb_array_elements(items) AS i (value)
        CROSS JOIN LATERAL (SELECT (i.value ->> 'key')::bigint AS key) AS k
        WHERE k.key <> ALL (dropped)
        ORDER BY EXISTS (SELECT FROM unnest(leaning, leant) AS e (leaning, leant)
                         WHERE e.leant = k.key AND e.leaning <> ALL (dropped)), k.key & 4294967295 DESC
        LIMIT 1;
        EXECUTE item.statement;
        dropped := dropped || item.key;
    END LOOP;
    RETURN dropped;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._drop_dependents(oid, jsonb, boolean) FROM PUBLIC;

-- Removes a turn of what ends with a tenant while there is more than one call can do, and returns how many are left;
-- nothing is done where they do not keep the tenant, or something else does.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._dependents_in_turns(
    grantor edu_matrix_hub_schema.tenant_schemas, requested_by text
) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    most   CONSTANT integer := edu_matrix_hub_schema._dependents_at_once();
    ending record;
BEGIN
    SELECT coalesce(array_agg(d.key ORDER BY d.key & 4294967295 DESC) FILTER (WHERE d.key IS NOT NULL), '{}') AS keys,
           coalesce(array_agg(d.what) FILTER (WHERE d.key IS NULL), '{}') AS others INTO ending
    FROM pg_namespace AS n
    CROSS JOIN LATERAL edu_matrix_hub_schema._grantee_dependents(grantor.id, n.oid) AS d
    WHERE n.oid = grantor.schema_oid AND n.nspname = grantor.schema_name;
    IF cardinality(ending.keys) <= most THEN
        RETURN 0;
    END IF;
    PERFORM edu_matrix_hub_schema._refuse_dependents(grantor.schema_oid,
        'remove them, or let the tenant stay (deletionPolicy: Retain)', NULL, NULL, ending.keys, ending.others);
    RETURN cardinality(ending.keys) - jsonb_array_length(edu_matrix_hub_schema._take_dependents(
        grantor, grantor.schema_oid, NULL, ending.keys[:most], requested_by));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._dependents_in_turns(edu_matrix_hub_schema.tenant_schemas, text)
    FROM PUBLIC;

-- Notes that a tenant cannot come back any more, so that what ended with it does not either; and forgets what a tenant
-- lost that is gone itself.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._gone_for_good(tenant_id uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    UPDATE edu_matrix_hub_schema.taken_dependents AS d SET gone_at = now()
    WHERE d.grantor_id = $1 AND d.gone_at IS NULL;
    DELETE FROM edu_matrix_hub_schema.taken_dependents AS d WHERE d.schema_id = $1
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._gone_for_good(uuid) FROM PUBLIC;

-- The same of what was made in the moment in which the schema was set aside, before that is removed for good.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._take_late_dependents(
    grantor edu_matrix_hub_schema.tenant_schemas, namespace oid, backup_id uuid, requested_by text
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    ending record;
BEGIN
    SELECT coalesce(array_agg(d.key) FILTER (WHERE d.key IS NOT NULL), '{}') AS keys,
           coalesce(array_agg(d.what) FILTER (WHERE d.key IS NULL), '{}') AS others INTO ending
    FROM edu_matrix_hub_schema._grantee_dependents(grantor.id, namespace) AS d;
    IF ending.keys <> '{}' THEN
        PERFORM edu_matrix_hub_schema._refuse_dependents(namespace, 'remove them, and call again', NULL, NULL,
                                                         ending.keys, ending.others);
        PERFORM edu_matrix_hub_schema._take_dependents(grantor, namespace, backup_id, ending.keys, requested_by);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._take_late_dependents(edu_matrix_hub_schema.tenant_schemas, oid, uuid,
                                                                   text) FROM PUBLIC;

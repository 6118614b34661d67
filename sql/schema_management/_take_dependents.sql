-- Removes what ends with a tenant by the word of those that have a grant of it (_grantee_dependents), keeps what makes
-- it again in taken_dependents, and returns it: [{schema_id, kind, name}...]. `wanted` are those that the caller saw
-- and has asked about. Without a backup it is a turn of several, and the others stay.
--
-- Each is locked before it is read, so that what is recorded is what is removed; one that is made meanwhile joins them,
-- and one that is gone by then is left out. A tenant chooses what it makes and which session of its holds it. A lock is
-- waited for in further calls; after ten minutes the sessions of that tenant's logins that have it are ended, and those
-- of one that goes on making views. Another user's session stays, and is named. A view that is made while the schema is
-- set aside keeps only that, and goes before it is removed for good (_take_late_dependents).
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
    type     CONSTANT text := CASE grantor.status WHEN 'dropped' THEN 'purge' ELSE 'set_aside' END;
    patient  CONSTANT boolean := NOT edu_matrix_hub_schema._waited_long(grantor.id, type);
    -- Calls that did not come to an end for ten minutes leave out the texts, which may be what took so long.
    texts    CONSTANT boolean := NOT edu_matrix_hub_schema._waited_long(grantor.id, type, '57014');
    items    jsonb := '[]'::jsonb;
    locked   bigint[] := '{}'::bigint[];
    grantees uuid[] := '{}'::uuid[];
    item     record;
    dropped  bigint[];
BEGIN
    -- What the turns before removed, also when nothing is left by now.
    UPDATE edu_matrix_hub_schema.taken_dependents AS d SET backup_id = _take_dependents.backup_id
    WHERE d.grantor_id = grantor.id AND d.backup_id IS NULL AND _take_dependents.backup_id IS NOT NULL;
    IF wanted = '{}' THEN
        RETURN items;
    END IF;
    FOR attempt IN 1..5 LOOP
        FOR item IN
            SELECT d.key, d.grantee FROM edu_matrix_hub_schema._agreed(grantor.id, wanted) AS d WHERE attempt = 1
            UNION ALL
            SELECT d.key, d.grantee FROM edu_matrix_hub_schema._grantee_dependents(grantor.id, namespace) AS d
            WHERE attempt > 1 AND d.key IS NOT NULL AND d.key <> ALL (locked)
            ORDER BY grantee, key
        LOOP
            IF item.grantee <> ALL (grantees) THEN
                PERFORM edu_matrix_hub_schema._enter_grantee(item.grantee);
                grantees := grantees || item.grantee;
            END IF;
            IF edu_matrix_hub_schema._lock_dependent(item.grantee, item.key, patient) THEN
                locked := locked || item.key;
                items := items || jsonb_build_object('key', item.key, 'grantee', item.grantee);
            END IF;
        END LOOP;
        EXIT WHEN NOT FOUND OR backup_id IS NULL;
        IF attempt = 2 AND NOT patient THEN
            PERFORM edu_matrix_hub_schema._end_holders(t, NULL)
            FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = ANY (grantees);
        END IF;
    END LOOP;
    items := edu_matrix_hub_schema._keep_dependents(grantor.id, backup_id, items, texts, patient);
    dropped := edu_matrix_hub_schema._drop_dependents(grantor.id, items, backup_id IS NOT NULL, patient);
    DELETE FROM edu_matrix_hub_schema.taken_dependents AS d
    USING jsonb_array_elements(items) AS i (value)
    WHERE d.id = (i.value ->> 'kept')::bigint AND (i.value ->> 'key')::bigint <> ALL (dropped);
    -- Numbered in the order in which they went.
    FOR item IN
        SELECT (i.value ->> 'kept')::bigint AS kept FROM jsonb_array_elements(items) AS i (value)
        WHERE (i.value ->> 'key')::bigint = ANY (dropped) AND i.value ->> 'kept' IS NOT NULL
        ORDER BY array_position(dropped, (i.value ->> 'key')::bigint)
    LOOP
        UPDATE edu_matrix_hub_schema.taken_dependents AS d SET id = DEFAULT WHERE d.id = item.kept;
    END LOOP;
    FOR item IN
        SELECT (i.value ->> 'grantee')::uuid AS id, count(*) AS count,
               count(*) FILTER (WHERE i.value ->> 'note' IS NOT NULL) AS lost,
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
                   grantor.schema_name)
            || CASE WHEN item.lost > 0 THEN format('; the definitions of %s are not kept', item.lost) ELSE '' END,
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

-- Drops them, as a member of their owners, and returns those that went in the order in which they did. The youngest
-- goes first, since most depend on older ones; what still has others in its way is tried again after these. What is
-- left then has a temporary view in its way, which goes with it, or, when it is the whole of them, is part of a circle;
-- the others still go one after the other.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._drop_dependents(grantor_id uuid, items jsonb, is_whole boolean,
                                                                  patient boolean) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET client_min_messages = warning
AS $function$
DECLARE
    dropped bigint[] := '{}'::bigint[];
    before  integer;
    is_held boolean;
    item    record;
    others  text[];
    leaning bigint[];
    leant   bigint[];
    falling bigint[];
    all_of_them bigint[];
    has_foreign boolean;
BEGIN
    FOR attempt IN 1..6 LOOP
        before := cardinality(dropped);
        is_held := false;
        FOR item IN
            SELECT k.key, (i.value ->> 'grantee')::uuid AS grantee, i.value ->> 'name' AS name,
                   format('DROP %s %s', i.value ->> 'kind', i.value ->> 'name') AS statement
            FROM jsonb_array_elements(items) AS i (value)
            CROSS JOIN LATERAL (SELECT (i.value ->> 'key')::bigint AS key) AS k
            WHERE k.key <> ALL (dropped)
            ORDER BY (k.key & 4294967295) * CASE attempt % 2 WHEN 1 THEN -1 ELSE 1 END
        LOOP
            BEGIN
                EXECUTE item.statement;
                dropped := dropped || item.key;
            EXCEPTION
                WHEN dependent_objects_still_exist THEN
                    NULL;
                WHEN out_of_memory THEN
                    -- The server locks all that depends on it, such as thousands of temporary views.
                    IF NOT is_whole AND dropped <> '{}' THEN
                        RETURN dropped;
                    END IF;
                    PERFORM edu_matrix_hub_schema._refuse_listed(format(
                        'there is no room to lock what depends on it (%s): end the sessions that made temporary views '
                        'over it, or raise max_locks_per_transaction of the server, and call again', SQLERRM),
                        ARRAY[item.name]);
                WHEN lock_not_available THEN
                    -- A session holds a part of it, such as its row type.
                    IF patient OR attempt > 3 OR NOT (
                        SELECT edu_matrix_hub_schema._end_holders(t, item.key)
                        FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = item.grantee) THEN
                        PERFORM edu_matrix_hub_schema._refuse_in_use(item.grantee, item.key);
                    END IF;
                    is_held := true;
            END;
        END LOOP;
        EXIT WHEN cardinality(dropped) = jsonb_array_length(items)
                  OR cardinality(dropped) = before AND NOT is_held;
    END LOOP;
    IF cardinality(dropped) = jsonb_array_length(items) OR NOT is_whole AND dropped <> '{}' THEN
        RETURN dropped;
    END IF;
    SELECT coalesce(array_agg((i.value ->> 'key')::bigint), '{}') INTO all_of_them
    FROM jsonb_array_elements(items) AS i (value);
    -- In one statement, so of one moment: a view that is made and dropped again and again is there for both or neither.
    SELECT coalesce(array_agg(k.key), '{}'), coalesce(array_agg(k.leant), '{}'),
           coalesce(bool_or(k.key <> ALL (all_of_them) AND NOT EXISTS (
               SELECT FROM edu_matrix_hub_schema._agreed(grantor_id, ARRAY[k.key]))), false)
    INTO leaning, leant, has_foreign
    FROM edu_matrix_hub_schema._leaning_on(ARRAY(SELECT unnest(all_of_them) EXCEPT SELECT unnest(dropped))) AS k;
    SELECT coalesce(array_agg(DISTINCT edu_matrix_hub_schema._cut(coalesce(
               (pg_identify_object((k.key >> 32)::oid, (k.key & 4294967295)::oid, 0)).identity,
               'one that is gone by now'))), '{}') INTO others
    FROM unnest(leaning) AS k (key) WHERE k.key <> ALL (all_of_them);
    falling := all_of_them;
    IF NOT is_whole THEN
        falling := ARRAY(SELECT unnest(all_of_them) EXCEPT SELECT unnest(leant));
        IF falling <> '{}' THEN
            others := '{}';
        ELSIF others = '{}' THEN
            others := ARRAY['views and functions that depend on one another'];
        END IF;
    END IF;
    -- A tenant makes them again and again where it makes them by now.
    IF is_whole AND NOT has_foreign AND others <> '{}' THEN
        PERFORM edu_matrix_hub_schema._refuse('busy',
            format('those that have a grant of it go on making views over it (%s)', others[1]));
    END IF;
    PERFORM edu_matrix_hub_schema._refuse_listed('remove them, and call again', others);
    WHILE cardinality(dropped) < cardinality(falling) LOOP
        SELECT k.key, format('DROP %s IF EXISTS %s CASCADE', i.value ->> 'kind', i.value ->> 'name') AS statement
        INTO STRICT item
        FROM jsonb_array_elements(items) AS i (value)
        CROSS JOIN LATERAL (SELECT (i.value ->> 'key')::bigint AS key) AS k
        WHERE k.key = ANY (falling) AND k.key <> ALL (dropped)
        ORDER BY EXISTS (SELECT FROM unnest(leaning, leant) AS e (leaning, leant)
                         WHERE e.leant = k.key AND e.leaning <> ALL (dropped)), k.key & 4294967295 DESC
        LIMIT 1;
        EXECUTE item.statement;
        dropped := dropped || item.key;
    END LOOP;
    RETURN dropped;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._drop_dependents(uuid, jsonb, boolean, boolean) FROM PUBLIC;

-- Removes a turn of what ends with a tenant while there is more than one call can do, and returns how many are left;
-- nothing is done where they do not keep the tenant, or something else does.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._dependents_in_turns(
    grantor edu_matrix_hub_schema.tenant_schemas, namespace oid, requested_by text
) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    most   CONSTANT integer := edu_matrix_hub_schema._dependents_at_once();
    ending record;
BEGIN
    SELECT e.keys, e.others INTO ending FROM edu_matrix_hub_schema._ending(grantor.id, namespace, most) AS e;
    IF ending.keys = '{}' THEN
        RETURN 0;
    END IF;
    PERFORM edu_matrix_hub_schema._refuse_listed('remove them, or let the tenant stay (deletionPolicy: Retain)',
                                                 ending.others);
    RETURN cardinality(ending.keys) - jsonb_array_length(edu_matrix_hub_schema._take_dependents(
        grantor, namespace, NULL, edu_matrix_hub_schema._outermost(ending.keys, most), requested_by));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._dependents_in_turns(edu_matrix_hub_schema.tenant_schemas, oid, text)
    FROM PUBLIC;

-- So many of these that nothing depends on but others of them; of a circle any.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._outermost(keys bigint[], most integer) RETURNS bigint[]
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    chosen  bigint[] := '{}'::bigint[];
    others  bigint[] := keys;
    layer   bigint[];
    leant   bigint[];
    leaning bigint[];
BEGIN
    SELECT coalesce(array_agg(k.leant), '{}'), coalesce(array_agg(k.key), '{}') INTO leant, leaning
    FROM edu_matrix_hub_schema._leaning_on(keys) AS k;
    WHILE cardinality(chosen) < most LOOP
        layer := ARRAY(SELECT o.key FROM unnest(others) AS o (key)
                       WHERE NOT EXISTS (SELECT FROM unnest(leant) AS e (key) WHERE e.key = o.key)
                       LIMIT most - cardinality(chosen));
        EXIT WHEN layer = '{}';
        chosen := chosen || layer;
        others := ARRAY(SELECT o.key FROM unnest(others) AS o (key) WHERE o.key <> ALL (layer));
        SELECT coalesce(array_agg(e.leant), '{}'), coalesce(array_agg(e.leaning), '{}') INTO leant, leaning
        FROM unnest(leant, leaning) AS e (leant, leaning) WHERE e.leaning <> ALL (layer);
    END LOOP;
    RETURN CASE WHEN chosen = '{}' THEN keys[:most] ELSE chosen END;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._outermost(bigint[], integer) FROM PUBLIC;

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

-- Removes what was made in the moment in which the schema was set aside, before that is removed for good, and returns
-- how many are left for further calls.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._take_late_dependents(
    grantor edu_matrix_hub_schema.tenant_schemas, namespace oid, backup_id uuid, requested_by text
) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    remaining CONSTANT integer := edu_matrix_hub_schema._dependents_in_turns(grantor, namespace, requested_by);
    ending    record;
BEGIN
    IF remaining > 0 THEN
        RETURN remaining;
    END IF;
    SELECT e.keys, e.others INTO ending FROM edu_matrix_hub_schema._ending(grantor.id, namespace, NULL) AS e;
    IF ending.keys <> '{}' THEN
        PERFORM edu_matrix_hub_schema._refuse_listed('remove them, and call again', ending.others);
        PERFORM edu_matrix_hub_schema._take_dependents(grantor, namespace, backup_id, ending.keys, requested_by);
    END IF;
    RETURN 0;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._take_late_dependents(edu_matrix_hub_schema.tenant_schemas, oid, uuid,
                                                                   text) FROM PUBLIC;

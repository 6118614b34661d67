-- Refuses with `deletion_brake` when as many tenants of TenantSchemas as `limit` were dropped after `since`: a wave of
-- deletions is more often a mistake than a wish, so it may take only few tenants. brake: {since, limit}; null brakes
-- nothing. `since` is by the clock of the API server, and so is what is counted; only a row of which no time of
-- deletion is known counts by ours.
--
-- A namespace may use four fifths of the limit: its own wave stops it before it stops the deletions of all others.
--
-- It is asked twice. Before anything is done it only counts. `finally`, when the tenant `dropping` is set aside and
-- nothing but the commit is left, a call that was let through near the limit commits before the next one counts: that
-- one waits until then, or is `busy`. A tenant can make its own deletion slow, so no other waits for it before. No call
-- waits where the limit is further away than two operators have connections, which is 64 each at the most.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._deletion_brake(jsonb);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._deletion_brake(brake jsonb, dropping uuid, namespace text,
                                                                 finally boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    most    CONSTANT bigint := (brake ->> 'limit')::bigint;
    share   CONSTANT bigint := most - most / 5;
    dropped bigint;
    own     bigint;
    waited  boolean := false;
BEGIN
    IF most IS NULL THEN
        RETURN;
    END IF;
    LOOP
        SELECT count(*), count(*) FILTER (WHERE t.owner_namespace = namespace) INTO dropped, own
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.status = 'dropped' AND t.id <> dropping AND t.owner_uid IS NOT NULL
          AND coalesce(t.deletion_requested_at, t.dropped_at) > (brake ->> 'since')::timestamptz;
        EXIT WHEN waited OR NOT finally OR (dropped + 128 <= most AND own + 128 <= share);
        PERFORM FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = 'deletions' FOR UPDATE;
        waited := true;
    END LOOP;
    IF dropped >= most THEN
        PERFORM edu_matrix_hub_schema._refuse('deletion_brake',
            format('%s tenants were set aside or dropped since %s, and the limit is %s; '
                   'it stays as it is until that is confirmed', dropped, brake ->> 'since', most),
            jsonb_build_object('count', dropped, 'limit', most));
    ELSIF own >= share THEN
        PERFORM edu_matrix_hub_schema._refuse('deletion_brake',
            format('%s tenants of namespace %s were set aside or dropped since %s, and one namespace may use %s of the '
                   'limit of %s; it stays as it is until that is confirmed', own, namespace,
                   brake ->> 'since', share, most),
            jsonb_build_object('count', own, 'limit', share, 'namespace', namespace));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._deletion_brake(jsonb, uuid, text, boolean) FROM PUBLIC;

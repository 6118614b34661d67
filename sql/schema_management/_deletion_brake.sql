-- Refuses with `deletion_brake` when as many tenants of TenantSchemas as `limit` were dropped after `since`: a wave of deletions is
-- more often a mistake than a wish, and takes few tenants with it. brake: {since, limit}; null brakes nothing. `since` is by
-- the clock of the API server, and so is what is counted; only a row of which no time of deletion is known counts by ours.
--
-- Near the limit, who was let through drops before the next one counts: that one waits until the transaction has ended, or is
-- `busy`. No call waits where the limit is further away than two operators have connections, which is 64 each at the most.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._deletion_brake(brake jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    most    CONSTANT bigint := brake ->> 'limit';
    dropped bigint;
    waited  boolean := false;
BEGIN
    IF most IS NULL THEN
        RETURN;
    END IF;
    LOOP
        SELECT count(*) INTO dropped
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.status = 'dropped' AND t.owner_uid IS NOT NULL AND coalesce(t.deletion_requested_at, t.dropped_at) > (brake ->> 'since')::timestamptz;
        EXIT WHEN waited OR dropped + 128 <= most;
        PERFORM FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = 'deletions' FOR UPDATE;
        waited := true;
    END LOOP;
    IF dropped >= most THEN
        PERFORM edu_matrix_hub_schema._refuse('deletion_brake',
            format('%s tenants were set aside or dropped since %s, and the limit is %s; it stays as it is until that is confirmed',
                   dropped, brake ->> 'since', most),
            jsonb_build_object('count', dropped, 'limit', most));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._deletion_brake(jsonb) FROM PUBLIC;

-- Makes the caller the only operator process that may change things here: increments the epoch, by which every call of
-- the former holder is refused from now on. Waits until the calls that are under way have ended.
--
-- options: {cluster, tenant_database, holder, expected_installation_id, take_over?, claim_id, lease, known_claim?,
-- known?: {epoch, beats}}. The first claim pins cluster and tenant_database; a claim under another identity is refused
-- as `managed_elsewhere`, one that expects another installation as `wrong_installation`, and neither changes anything.
--
-- `claim_id` is a number that the process drew, `lease` the Lease by which its replicas agree, `known_claim` the
-- number of the latest claim that the TenantDatabase remembers. A holder that is at work says so every 5 seconds and
-- keeps the lane: a claim is refused as `contested`, with both, while the holder was heard of within 45 seconds, 20
-- if the claim is of the same Lease, and 8 if it knows the holder's claim as well. A Lease that a dead holder had
-- runs out later than that, so replicas do not wait; and a copy of a cluster, which has the same Lease and knows the
-- claim, gets nothing of an original that is at work. Former releases have no `claim_id`, and neither they nor their
-- lanes are held to this.
--
-- `known` is what the claimant has seen of this installation. A registry that is behind it, or that was last claimed on
-- another timeline or in another database, is an older state or a copy: `went_back` says so, the new epoch is above all
-- that was ever seen, and nothing expires for hours.
--
-- A claim whose `take_over` is `<cluster>/<epoch>`, the pinned cluster and the epoch until now, is not refused but pins
-- its own identity; that epoch is over then, so that the same words do nothing a second time (former releases name the
-- cluster alone). What the registry knows of objects of that cluster becomes known of this one, and its tenants are
-- marked `taken_over` until their TenantSchemas, made again here, reclaim them. It is refused while another database of
-- the server has a registry or schemas of the same installation: their roles are the same.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.claim_lane(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      CONSTANT text := 'claim the lane of database "' || current_database() || '"';
    requester    CONSTANT text := coalesce(options ->> 'holder', session_user::text);
    here         CONSTANT text := options ->> 'cluster';
    former       CONSTANT text := nullif(split_part(options ->> 'take_over', '/', 1), here);
    claim        CONSTANT uuid := (options ->> 'claim_id')::uuid;
    contender    CONSTANT jsonb := jsonb_build_object('holder', options -> 'holder', 'cluster', here,
                                                      'tenant_database', options -> 'tenant_database',
                                                      'lease', options -> 'lease', 'from', host(inet_client_addr()),
                                                      'claim_id', options -> 'claim_id');
    wal_timeline CONSTANT bigint := edu_matrix_hub_schema._timeline();
    here_place   CONSTANT text := edu_matrix_hub_schema._place();
    installed    edu_matrix_hub_schema.installation;
    contested    boolean;
    takes_over   boolean;
    next_epoch   bigint;
    went_back    text;
    moved        jsonb;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        IF coalesce(here, '') = '' OR coalesce(options ->> 'tenant_database', '') = '' THEN
            PERFORM edu_matrix_hub_schema._refuse('internal', 'cluster and tenant_database are needed');
        END IF;
        -- Looked at before any session is made to wait, and again when none can come in between.
        contested := edu_matrix_hub_schema._rival_at_work(options);
        IF NOT contested THEN
            LOCK TABLE edu_matrix_hub_schema.lane_lock IN EXCLUSIVE MODE;
            contested := edu_matrix_hub_schema._rival_at_work(options);
        END IF;
        SELECT * INTO installed FROM edu_matrix_hub_schema.installation AS i;
        takes_over := claim IS NULL OR split_part(options ->> 'take_over', '/', 2) = installed.epoch::text;
        IF (options ->> 'expected_installation_id')::uuid <> installed.installation_id THEN
            PERFORM edu_matrix_hub_schema._refuse('wrong_installation',
                format('this database holds installation %s and not %s; '
                       'check the connection, it may lead to another database', installed.installation_id,
                       options ->> 'expected_installation_id'),
                jsonb_build_object('installation_id', installed.installation_id));
        END IF;
        IF (installed.cluster, installed.tenant_database) <> (here, options ->> 'tenant_database')
           AND NOT coalesce(takes_over AND split_part(options ->> 'take_over', '/', 1) = installed.cluster, false) THEN
            PERFORM edu_matrix_hub_schema._refuse('managed_elsewhere',
                format('it is managed by TenantDatabase "%s" of cluster %s',
                       installed.tenant_database, installed.cluster),
                jsonb_build_object('installation_id', installed.installation_id, 'epoch', installed.epoch,
                    'managed_by', jsonb_build_object(
                        'cluster', installed.cluster, 'tenant_database', installed.tenant_database,
                        'tenant_count', (SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas AS t
                                         WHERE t.owner_cluster = installed.cluster AND t.status <> 'dropped'))));
        END IF;
        IF contested THEN
            -- An answer and no refusal, which would be a row in the log: the operator asks again every few seconds.
            UPDATE edu_matrix_hub_schema.installation AS i
            SET contested_at = clock_timestamp(), contested_by = contender;
            RETURN edu_matrix_hub_schema._result('error',
                format('cannot %s: %s holds it and was heard of %s s ago', attempt, installed.holder,
                       round(extract(epoch FROM clock_timestamp() - installed.heartbeat_at))),
                NULL, jsonb_build_object('reason', 'contested', 'contest', jsonb_build_object(
                    'holder', edu_matrix_hub_schema._holder(), 'contender', contender)));
        END IF;
        IF (installed.cluster, installed.tenant_database) <> (here, options ->> 'tenant_database') THEN
            PERFORM edu_matrix_hub_schema._refuse_copy();
        END IF;
        went_back := CASE
            WHEN (options #>> '{known,epoch}')::bigint > installed.epoch
                THEN format('its epoch is %s, and %s was seen', installed.epoch, options #>> '{known,epoch}')
            WHEN (options #>> '{known,beats}')::bigint > installed.beats
                THEN format('it has counted %s signs of life of its operators, and %s were seen', installed.beats,
                            options #>> '{known,beats}')
            WHEN wal_timeline <> installed.timeline
                THEN format('its timeline is %s and was %s: a standby was promoted, or it was restored',
                            wal_timeline, installed.timeline)
            WHEN here_place <> installed.place
                THEN 'it is a copy, or was restored from a dump'
            END;
        next_epoch := greatest(installed.epoch, (options #>> '{known,epoch}')::bigint) + 1;
        IF former IS NOT NULL AND takes_over THEN
            WITH tenants AS (
                UPDATE edu_matrix_hub_schema.tenant_schemas AS t
                SET owner_cluster = here, owner_namespace_uid = NULL, taken_over = t.status <> 'dropped',
                    reported = NULL, updated_at = now()
                WHERE t.owner_cluster = former
                RETURNING t.taken_over
            ), grants AS (
                -- No namespace of the lost cluster is one of this: who is granted something is looked for here by name.
                UPDATE edu_matrix_hub_schema.tenant_grants AS g SET grantee_namespace_uid = NULL
                FROM edu_matrix_hub_schema.tenant_schemas AS t
                WHERE t.id = g.schema_id AND t.owner_cluster = former AND g.grantee_namespace_uid IS NOT NULL
            ), backups AS (
                UPDATE edu_matrix_hub_schema.schema_backups AS b SET object_cluster = here, object_namespace_uid = NULL
                WHERE b.object_cluster = former
                RETURNING b.id
            )
            SELECT jsonb_build_object('cluster', former, 'tenants', count(*) FILTER (WHERE t.taken_over),
                                      'dropped', count(*) FILTER (WHERE NOT t.taken_over),
                                      'backups', (SELECT count(*) FROM backups))
            INTO moved
            FROM tenants AS t;
        END IF;
        UPDATE edu_matrix_hub_schema.installation AS i
        SET epoch = next_epoch, cluster = here, tenant_database = options ->> 'tenant_database',
            holder = options ->> 'holder', claimed_at = now(), updated_at = now(), claim_id = claim,
            lease = options ->> 'lease', claimed_from = host(inet_client_addr()), beats = i.beats + 1,
            timeline = wal_timeline, place = here_place,
            heartbeat_at = CASE WHEN claim IS NOT NULL THEN clock_timestamp() END,
            -- The holder until now was heard of and did not leave: it may be at work and about to say so.
            unsettled_until = CASE WHEN i.claim_id <> claim AND i.heartbeat_at > clock_timestamp() - interval '20 s'
                                   THEN clock_timestamp() + interval '20 s' END,
            contested_at = CASE WHEN i.contested_by ->> 'claim_id' IS DISTINCT FROM claim::text THEN i.contested_at END;
        IF went_back IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._keep_quiet('the database may be an older state of itself: ' || went_back);
        ELSIF (installed.cluster, installed.tenant_database) <> (here, options ->> 'tenant_database') THEN
            PERFORM edu_matrix_hub_schema._keep_quiet('another TenantDatabase took it over');
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('claim_lane', NULL, requester, started, attempt,
                                                  SQLSTATE, SQLERRM, error_detail);
    END;
    PERFORM edu_matrix_hub_schema._log(NULL, 'claim_lane', 'success', requester, started, attempt,
                                       jsonb_build_object('epoch', next_epoch));
    IF (installed.cluster, installed.tenant_database) <> (here, options ->> 'tenant_database')
       OR jsonb_path_exists(moved, '$.* ? (@ > 0)') THEN
        PERFORM edu_matrix_hub_schema._log(NULL, 'take_over', 'success', requester, started,
            'take over database "' || current_database() || '"',
            jsonb_build_object('managed_by', jsonb_build_object('cluster', installed.cluster,
                                                                'tenant_database', installed.tenant_database),
                               'taken_over', moved));
    END IF;
    RETURN edu_matrix_hub_schema._result('success', format('lane claimed in epoch %s', next_epoch), NULL,
        edu_matrix_hub_schema._state_of_world() || jsonb_build_object(
            'installation_id', installed.installation_id, 'epoch', next_epoch, 'went_back', went_back,
            'managed_by', jsonb_build_object('cluster', here, 'tenant_database', options ->> 'tenant_database')));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.claim_lane(jsonb) FROM PUBLIC;

-- Whether the lane has a holder that is at work (see claim_lane).
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._rival_at_work(options jsonb) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(i.claim_id <> (options ->> 'claim_id')::uuid
                    -- Both ways, or a clock that was set back would make a heartbeat of the future fresh for ever.
                    AND clock_timestamp() - i.heartbeat_at BETWEEN -s.span AND s.span, false)
    FROM edu_matrix_hub_schema.installation AS i
    CROSS JOIN LATERAL (SELECT CASE WHEN i.lease IS DISTINCT FROM options ->> 'lease'
                                         OR i.cluster <> options ->> 'cluster' THEN interval '45 s'
                                    WHEN i.claim_id = (options ->> 'known_claim')::uuid THEN interval '8 s'
                                    ELSE interval '20 s' END) AS s (span)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._rival_at_work(jsonb) FROM PUBLIC;

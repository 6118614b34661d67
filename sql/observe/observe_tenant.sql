-- Everything that the database knows about one tenant and about what stands in the way of one. request: {cluster,
-- namespace, name, uid, schema_id?, institution_id?, schema_name, institution_source?, measure?}. It changes nothing.
--
-- With `measure` its own tenant is `measured` now, like a survey does: {at, table_count, storage_bytes, exact};
-- `storage_bytes` is null where that could not be found out, and nothing is measured where no schema stands.
--
-- `schema_exists` says of an existing tenant whether its schema stands, and of a new one whether a schema of the wanted
-- name stands that is no tenant's; `bearer` is whose it is when another tenant's schema was renamed to that, with the
-- statement that names it back. `absence` says why the schema of an existing tenant does not stand (see
-- _schema_absence). `institution_problem` says why the application's table could not be asked. For an object that has
-- no tenant, `set_aside` is what keeps its name or institution (see _reserved), and `known` the row of the id that it
-- had; another object may have that now. With `adopts`, `adoption` is what there is to adopt (see _look_at_adoption).
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.observe_tenant(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    wanted_institution CONSTANT uuid := (request ->> 'institution_id')::uuid;
    answer              jsonb;
    own_id              uuid;
    own                 record;
    own_row             jsonb;
    seen                record;
    tombstone           jsonb;
    known               jsonb;
    bearer              jsonb;
    institution_holder  jsonb;
    institution_known   boolean := true;
    institution_problem text;
    institution_status  text;
BEGIN
    PERFORM edu_matrix_hub_schema._need_all_rows();
    own_id := (SELECT t.id FROM edu_matrix_hub_schema.tenant_schemas AS t
               WHERE t.owner_uid = request ->> 'uid' AND t.owner_cluster = request ->> 'cluster'
                 AND t.status <> 'dropped');
    IF own_id IS NOT NULL THEN
        SELECT t.drift, t.fingerprint, r.document, edu_matrix_hub_schema._schema_absence(t) AS absence
        INTO own
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        JOIN edu_matrix_hub_schema.tenant_rows AS r ON r.schema_id = t.id
        WHERE t.id = own_id;
        IF own.absence IS NULL AND (SELECT f.fingerprint FROM edu_matrix_hub_schema.tenant_fingerprints AS f
                                    WHERE f.schema_id = own_id)
                          IS DISTINCT FROM own.fingerprint THEN
            own.drift := edu_matrix_hub_schema._tenant_drift(own_id);
        ELSE
            own.drift := '[]';
        END IF;
        own_row := own.document || jsonb_build_object('schema_exists', own.absence IS NULL,
                                                      'absence', own.absence, 'drift', own.drift,
                                                      'taken', edu_matrix_hub_schema._taken(own_id),
                                                      'grants', (
                SELECT g.grants FROM edu_matrix_hub_schema._grant_states(ARRAY[own_id]) AS g));
        IF own.absence IS NULL AND (request ->> 'measure')::boolean THEN
            own_row := own_row || jsonb_build_object('measured', (
                SELECT jsonb_build_object(
                    'at', date_trunc('second', clock_timestamp()), 'storage_bytes', m.bytes, 'exact', m.how = 'exact',
                    'table_count', (SELECT count(*) FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid
                                    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = t.schema_oid
                                      AND d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p')))
                FROM edu_matrix_hub_schema.tenant_schemas AS t
                CROSS JOIN LATERAL edu_matrix_hub_schema._measure_schema(t.schema_oid, 2000) AS m
                WHERE t.id = own_id));
        END IF;
    END IF;

    IF wanted_institution IS NOT NULL THEN
        institution_status := (SELECT coalesce(nullif(i.status, 'active'), i.source_status, 'active')
                               FROM edu_matrix_hub_schema.institutions AS i
                               WHERE i.id = wanted_institution);
        institution_known := coalesce(institution_status <> 'closed', false);
        IF institution_status IS NULL AND own_id IS NULL
           AND jsonb_typeof(request -> 'institution_source') = 'object' THEN
            BEGIN
                institution_known :=
                    edu_matrix_hub_schema._institution_in_source(wanted_institution, request -> 'institution_source');
            EXCEPTION
                WHEN serialization_failure OR deadlock_detected THEN RAISE;
                WHEN OTHERS THEN
                    IF edu_matrix_hub_schema._may_pass(SQLSTATE, SQLERRM) THEN
                        RAISE;
                    END IF;
                    institution_problem := SQLERRM;
            END;
        END IF;
    END IF;

    -- One table at a time, and the rest only where there is something to find: a schema that is made makes every
    -- session plan its statements again, so that what is planned for a new tenant is what a new tenant costs.
    SELECT i.installation_id, i.epoch,
           (SELECT edu_matrix_hub_schema._claim(t) FROM edu_matrix_hub_schema.tenant_schemas AS t
            WHERE t.schema_name = request ->> 'schema_name' AND t.status <> 'dropped'
              AND t.id IS DISTINCT FROM own_id) AS name_holder,
           EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                   WHERE t.owner_uid = request ->> 'uid' AND t.owner_cluster = request ->> 'cluster'
                     AND t.status = 'dropped') AS has_grave,
           own_id IS NULL AND EXISTS (SELECT FROM pg_namespace AS n
                                      WHERE n.nspname = request ->> 'schema_name') AS name_stands,
           EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = request ->> 'schema_name') AS name_is_role
    INTO seen
    FROM edu_matrix_hub_schema.installation AS i;
    IF wanted_institution IS NOT NULL THEN
        institution_holder := (
            SELECT edu_matrix_hub_schema._claim(t) FROM edu_matrix_hub_schema.tenant_schemas AS t
            WHERE t.institution_id = wanted_institution AND t.status <> 'dropped' AND t.id IS DISTINCT FROM own_id);
    END IF;
    IF seen.has_grave THEN
        tombstone := (
            SELECT jsonb_build_object('schema_id', t.id, 'status', t.status, 'backup_id', b.id, 'location', b.location,
                                      'backup_state', b.state,
                                      'schema_gone', coalesce(b.state = 'purging', false) AND b.location_oid IS NOT NULL
                                                     AND NOT edu_matrix_hub_schema._world_moved()
                                                     AND NOT EXISTS (SELECT FROM pg_namespace AS n
                                                                     WHERE n.oid = b.location_oid),
                                      'held_up', (SELECT jsonb_build_object('error', j.error, 'reason', j.reason)
                                                  FROM edu_matrix_hub_schema.schema_jobs AS j
                                                  WHERE j.backup_id = b.id AND j.kind = 'purge'
                                                    AND j.state IN ('requested', 'running')
                                                    AND j.error IS NOT NULL))
            FROM edu_matrix_hub_schema.tenant_schemas AS t
            LEFT JOIN LATERAL (SELECT * FROM edu_matrix_hub_schema.schema_backups AS s
                               WHERE s.schema_id = t.id AND s.method = 'SetAside'
                               ORDER BY s.completed_at DESC NULLS LAST LIMIT 1) AS b ON true
            WHERE t.owner_uid = request ->> 'uid' AND t.owner_cluster = request ->> 'cluster' AND t.status = 'dropped'
            ORDER BY t.dropped_at DESC NULLS LAST LIMIT 1);
    END IF;
    IF own_id IS NULL AND request ->> 'schema_id' IS NOT NULL THEN
        known := (SELECT edu_matrix_hub_schema._claim(t) FROM edu_matrix_hub_schema.tenant_schemas AS t
                  WHERE t.id = (request ->> 'schema_id')::uuid);
    END IF;
    IF seen.name_stands AND seen.name_holder IS NULL THEN
        bearer := (
            SELECT edu_matrix_hub_schema._claim(t)
                || jsonb_build_object('statement', format('ALTER SCHEMA %I RENAME TO %I', n.nspname, t.schema_name))
            FROM pg_namespace AS n
            JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.schema_oid = n.oid AND t.status <> 'dropped'
            WHERE n.nspname = request ->> 'schema_name' AND NOT edu_matrix_hub_schema._world_moved());
    END IF;
    answer := jsonb_build_object(
        'installation_id', seen.installation_id,
        'epoch', seen.epoch,
        'own', own_row,
        'tombstone', tombstone,
        'known', known,
        'name_holder', seen.name_holder,
        'institution_holder', institution_holder,
        'schema_exists', CASE WHEN own_id IS NOT NULL THEN (own_row -> 'schema_exists')::boolean
                              ELSE seen.name_stands AND seen.name_holder IS NULL END,
        'bearer', bearer,
        'name_is_role', seen.name_is_role,
        'institution_known', institution_known,
        'institution_problem', institution_problem,
        'institution_status', institution_status);
    IF own_id IS NULL THEN
        answer := answer || jsonb_build_object(
            'set_aside', edu_matrix_hub_schema._reserved(request ->> 'schema_name', wanted_institution, NULL));
        IF (request ->> 'adopts')::boolean THEN
            answer := answer || jsonb_build_object('adoption', edu_matrix_hub_schema._look_at_adoption(
                request ->> 'schema_name', request ->> 'uid'));
        END IF;
    END IF;
    RETURN answer;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.observe_tenant(jsonb) FROM PUBLIC;

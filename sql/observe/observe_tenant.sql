-- Everything that the database knows about one tenant and about what stands in the way of one. request: {cluster, namespace, name,
-- uid, schema_id?, institution_id?, schema_name, institution_source?}. It changes nothing.
--
-- `schema_exists` says of an existing tenant whether its schema stands, and of a new one whether a schema of the wanted name
-- stands that is no tenant's; `bearer` is whose it is when another tenant's schema was renamed to that, with the statement that
-- names it back. `absence` says why the schema of an existing tenant does not stand (see _schema_absence). `institution_problem`
-- says why the application's table could not be asked. For one that has no tenant, `set_aside` is what keeps its name or
-- institution (see _reserved), and `known` the row of the id that it had, whichever object has it now.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.observe_tenant(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    wanted_institution CONSTANT uuid := (request ->> 'institution_id')::uuid;
    answer              jsonb;
    own                 record;
    institution_known   boolean := true;
    institution_problem text;
BEGIN
    PERFORM edu_matrix_hub_schema._need_all_rows();
    SELECT t.id, t.schema_name, t.drift, t.fingerprint, r.document,
           edu_matrix_hub_schema._schema_absence(t) AS absence
    INTO own
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    JOIN edu_matrix_hub_schema.tenant_rows AS r ON r.schema_id = t.id
    WHERE t.owner_uid = request ->> 'uid' AND t.owner_cluster = request ->> 'cluster' AND t.status <> 'dropped';
    IF own.id IS NOT NULL THEN
        IF own.absence IS NULL AND (SELECT f.fingerprint FROM edu_matrix_hub_schema.tenant_fingerprints AS f WHERE f.schema_id = own.id)
                          IS DISTINCT FROM own.fingerprint THEN
            own.drift := edu_matrix_hub_schema._tenant_drift(own.id);
        ELSE
            own.drift := '[]';
        END IF;
    END IF;

    IF wanted_institution IS NOT NULL THEN
        institution_known := EXISTS (SELECT FROM edu_matrix_hub_schema.institutions AS i
                                     WHERE i.id = wanted_institution AND i.status = 'active');
        IF NOT institution_known AND own.id IS NULL AND jsonb_typeof(request -> 'institution_source') = 'object' THEN
            BEGIN
                institution_known := edu_matrix_hub_schema._institution_in_source(wanted_institution, request -> 'institution_source');
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

    SELECT jsonb_build_object(
        'installation_id', i.installation_id,
        'epoch', i.epoch,
        'own', own.document || jsonb_build_object('schema_exists', own.absence IS NULL, 'absence', own.absence, 'drift', own.drift),
        'tombstone', (
            SELECT jsonb_build_object('schema_id', t.id, 'status', t.status, 'backup_id', b.id, 'location', b.location,
                                      'backup_state', b.state,
                                      'held_up', (SELECT jsonb_build_object('error', j.error, 'reason', j.reason)
                                                  FROM edu_matrix_hub_schema.schema_jobs AS j
                                                  WHERE j.backup_id = b.id AND j.kind = 'purge' AND j.state IN ('requested', 'running')
                                                    AND j.error IS NOT NULL))
            FROM edu_matrix_hub_schema.tenant_schemas AS t
            LEFT JOIN LATERAL (SELECT * FROM edu_matrix_hub_schema.schema_backups AS s
                               WHERE s.schema_id = t.id AND s.method = 'SetAside'
                               ORDER BY s.completed_at DESC NULLS LAST LIMIT 1) AS b ON true
            WHERE t.owner_uid = request ->> 'uid' AND t.owner_cluster = request ->> 'cluster' AND t.status = 'dropped'
            ORDER BY t.dropped_at DESC NULLS LAST LIMIT 1),
        'set_aside', CASE WHEN own.id IS NULL
                          THEN edu_matrix_hub_schema._reserved(request ->> 'schema_name', wanted_institution, NULL) END,
        'known', CASE WHEN own.id IS NULL THEN (
            SELECT edu_matrix_hub_schema._claim(t) FROM edu_matrix_hub_schema.tenant_schemas AS t
            WHERE t.id = (request ->> 'schema_id')::uuid) END,
        'name_holder', holder.claim,
        'institution_holder', (
            SELECT edu_matrix_hub_schema._claim(t)
            FROM edu_matrix_hub_schema.tenant_schemas AS t
            WHERE t.institution_id = wanted_institution AND t.status <> 'dropped' AND t.id IS DISTINCT FROM own.id),
        'schema_exists', CASE WHEN own.id IS NOT NULL THEN own.absence IS NULL
                              ELSE holder.claim IS NULL
                                   AND EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = request ->> 'schema_name') END,
        'bearer', CASE WHEN own.id IS NULL AND holder.claim IS NULL THEN (
            SELECT edu_matrix_hub_schema._claim(t) || jsonb_build_object('statement', format('ALTER SCHEMA %I RENAME TO %I', n.nspname, t.schema_name))
            FROM pg_namespace AS n
            JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.schema_oid = n.oid AND t.status <> 'dropped'
            WHERE n.nspname = request ->> 'schema_name' AND NOT edu_matrix_hub_schema._world_moved()) END,
        'name_is_role', EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = request ->> 'schema_name'),
        'institution_known', institution_known,
        'institution_problem', institution_problem)
    INTO answer
    FROM edu_matrix_hub_schema.installation AS i
    LEFT JOIN LATERAL (
        SELECT edu_matrix_hub_schema._claim(t) AS claim
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.schema_name = request ->> 'schema_name' AND t.status <> 'dropped' AND t.id IS DISTINCT FROM own.id) AS holder ON true;
    RETURN answer;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.observe_tenant(jsonb) FROM PUBLIC;

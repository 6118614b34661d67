-- Puts right what a user changed by hand: owner and grants of the schema, default privileges, missing roles, their
-- attributes and memberships, and those, the limits and the defaults of its logins (see _drift for what counts). What
-- its grants give to others is given and taken here as well when a grantee, or a table, comes or goes. Then what its
-- roles may do beyond its schema, as far as that is ours to take back (see _close_holes).
-- options: {schema_id, requested_by?}.
--
-- detail: {repaired: [text...], not_repairable: [{what, statement, error?}...]}. What one repair cannot do does not
-- keep the others from being done; when nothing could be done it answers `error` with reason `not_repairable`, and the
-- statements are for a role with more rights. Without drift it answers `unchanged`. How much of it there is is the
-- tenant's choice, so one call does a bounded part; what is left is found by the next survey.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.repair_tenant_schema(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started        CONSTANT timestamptz := clock_timestamp();
    attempt        text := format('repair tenant %s', options ->> 'schema_id');
    tenant         edu_matrix_hub_schema.tenant_schemas;
    finding        record;
    owner_is_taken boolean := false;
    made_roles     boolean := false;
    repaired       text[] := '{}'::text[];
    not_repairable jsonb;
    -- At most so many findings, and strangers on the schema, are put right by one call; the next survey finds the rest.
    most           CONSTANT integer := 200;
    taken          integer := 0;
    unfinished     boolean := false;
    -- Logins, and findings of objects, that another session is changing, and what was not done to them for that.
    held           text[] := '{}'::text[];
    left_held      jsonb := '[]'::jsonb;
    locked         text;
    remaining      integer;
    rows_drift     boolean := false;
    secured        jsonb;
    error_detail   text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant((options ->> 'schema_id')::uuid, 'structure', false);
        tenant := edu_matrix_hub_schema._lock_tenant(tenant.id, 'access', true);
        attempt := format('repair schema "%s"', tenant.schema_name);
        PERFORM edu_matrix_hub_schema._require_schema(tenant);
        PERFORM edu_matrix_hub_schema._remember_grantees(tenant.id);

        -- A role that was made again shows what else it lacks only then, so there may be a second round.
        FOR round IN 1..3 LOOP
            not_repairable := '[]';
            remaining := cardinality(repaired);
            FOR finding IN SELECT * FROM edu_matrix_hub_schema._drift(ARRAY[tenant.id]) LOOP
                -- A part was put right already; another one is for another call.
                CONTINUE WHEN finding.kind IN ('schema_part', 'grant_part') AND unfinished
                           OR finding.role_name = ANY (held) OR finding.what = ANY (held);
                -- It has a bound of its own, and is done when the roles are right.
                rows_drift := rows_drift OR finding.kind = 'row_security';
                CONTINUE WHEN finding.kind = 'row_security';
                unfinished := unfinished OR finding.kind IN ('schema_part', 'grant_part', 'shared') OR taken = most;
                EXIT WHEN taken = most OR finding.kind = 'shared';
                taken := taken + 1;
                IF NOT finding.repairable THEN
                    not_repairable := not_repairable || jsonb_build_object('what', finding.what,
                        'statement', finding.statement);
                    CONTINUE;
                END IF;
                IF finding.kind IN ('owner', 'owned', 'schema', 'schema_part', 'default', 'grant', 'grant_part')
                   AND NOT owner_is_taken THEN
                    PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
                    owner_is_taken := true;
                END IF;
                BEGIN
                    CASE finding.kind
                        WHEN 'role' THEN
                            PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'create',
                                                                        ARRAY[finding.role_name]);
                            PERFORM edu_matrix_hub_schema._remember_roles(tenant.id, ARRAY[finding.role_name]);
                            made_roles := true;
                        WHEN 'attribute' THEN
                            PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'plain',
                                                                        ARRAY[finding.role_name]);
                        WHEN 'membership' THEN
                            PERFORM edu_matrix_hub_schema._role_command(finding.helper, 'leave',
                                                                        ARRAY[finding.role_name], finding.other_role);
                        WHEN 'login' THEN
                            PERFORM edu_matrix_hub_schema._as_keeper(finding.helper, finding.statement);
                        WHEN 'writers' THEN
                            PERFORM edu_matrix_hub_schema._block_writes(tenant, tenant.access = 'WriteBlocked');
                        WHEN 'entry' THEN
                            PERFORM edu_matrix_hub_schema._let_connect(finding.helper, finding.role_name);
                        WHEN 'owner', 'owned' THEN
                            IF finding.role_name <> current_user THEN
                                PERFORM edu_matrix_hub_schema._role_command(finding.helper, 'take',
                                    ARRAY[finding.role_name]);
                            END IF;
                            EXECUTE finding.statement;
                            IF finding.role_name <> current_user THEN
                                PERFORM edu_matrix_hub_schema._role_command(finding.helper, 'give_back',
                                    ARRAY[finding.role_name]);
                            END IF;
                        ELSE
                            PERFORM edu_matrix_hub_schema._persist(finding.statement);
                    END CASE;
                    repaired := repaired || finding.what;
                EXCEPTION
                    WHEN lock_not_available OR internal_error THEN
                        -- A login may change itself, and a grantee lock a table: each holds up by that what is done to
                        -- it, and nothing else.
                        IF finding.kind NOT IN ('login', 'entry', 'owned', 'grant', 'grant_part') THEN
                            RAISE;
                        END IF;
                        IF finding.kind IN ('grant', 'grant_part') THEN
                            locked := SQLERRM;
                            PERFORM set_config('lock_timeout', '20ms', true);
                        END IF;
                        held := held || CASE WHEN finding.kind IN ('login', 'entry') THEN finding.role_name
                                             ELSE finding.what END;
                        left_held := left_held || jsonb_build_object('what', finding.what,
                            'statement', finding.statement, 'error', SQLERRM);
                    WHEN insufficient_privilege OR invalid_grant_operation OR dependent_objects_still_exist
                         OR duplicate_object OR undefined_object OR undefined_table OR undefined_column
                         OR SQLSTATE 'TS001' THEN
                        not_repairable := not_repairable || jsonb_build_object('what', finding.what,
                            'statement', finding.statement, 'error', SQLERRM);
                    WHEN OTHERS THEN
                        -- A tenant chooses what there is to be given on, and one object holds up no other finding.
                        IF finding.kind <> 'owned' OR edu_matrix_hub_schema._may_pass(SQLSTATE, SQLERRM) THEN
                            RAISE;
                        END IF;
                        not_repairable := not_repairable || jsonb_build_object('what', finding.what,
                            'statement', finding.statement, 'error', SQLERRM);
                END;
            END LOOP;
            EXIT WHEN remaining = cardinality(repaired) OR taken = most;
        END LOOP;
        not_repairable := not_repairable || left_held;
        IF made_roles THEN
            IF NOT owner_is_taken THEN
                PERFORM edu_matrix_hub_schema._grant_tenant_owner(tenant.id);
                owner_is_taken := true;
            END IF;
            not_repairable := not_repairable || edu_matrix_hub_schema._grant_to_new_roles(tenant);
        END IF;
        IF owner_is_taken THEN
            PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
        END IF;
        IF rows_drift OR (made_roles OR repaired <> '{}')
           AND EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_row_security AS s WHERE s.schema_id = tenant.id) THEN
            SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant.id;
            secured := edu_matrix_hub_schema._cover_tables(tenant, 100);
            repaired := repaired || ARRAY(SELECT jsonb_array_elements_text(secured -> 'done'));
            -- What it opened its grantees get in the same call, and the next survey looks whether that was all.
            unfinished := unfinished OR secured ->> 'left' <> '0'
                          OR EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_grants AS g
                                     WHERE g.schema_id = tenant.id);
            not_repairable := not_repairable
                              || jsonb_path_query_array(secured, '$.failed[*] ? (@.sqlstate != "55P03")');
            IF repaired = '{}' AND not_repairable = '[]' AND secured ->> 'held' IS NOT NULL THEN
                PERFORM edu_matrix_hub_schema._refuse('busy',
                    format('another session holds table %s', secured ->> 'held'), '{"sqlstate": "55P03"}');
            END IF;
        END IF;
        PERFORM edu_matrix_hub_schema._forget_grantees(tenant.id);
        repaired := repaired || edu_matrix_hub_schema._close_holes(tenant.id);
        IF tenant.isolation IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._store_isolation(ARRAY[tenant.id], started);
        END IF;
        IF not_repairable = '[]' AND repaired <> '{}' AND NOT unfinished THEN
            PERFORM edu_matrix_hub_schema._store_fingerprint(tenant.id);
        ELSIF locked IS NOT NULL AND repaired = '{}' THEN
            PERFORM edu_matrix_hub_schema._refuse('busy', locked, '{"sqlstate": "55P03"}');
        ELSIF held <> '{}' AND repaired = '{}' THEN
            PERFORM edu_matrix_hub_schema._refuse('busy',
                format('another session is changing it: %s', left_held #>> '{0,what}'), '{"sqlstate": "55P03"}');
        ELSIF not_repairable <> '[]' AND repaired = '{}' THEN
            PERFORM edu_matrix_hub_schema._refuse('not_repairable',
                format('%s; a role with more rights has to run: %s',
                       edu_matrix_hub_schema._cut(not_repairable #>> '{0,what}'),
                       edu_matrix_hub_schema._cut(not_repairable #>> '{0,statement}')),
                jsonb_build_object('repaired', '[]'::jsonb, 'not_repairable', not_repairable));
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('repair_tenant_schema', tenant.id, options ->> 'requested_by',
                                                  started, attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    IF repaired = '{}' THEN
        RETURN edu_matrix_hub_schema._result('unchanged', format('schema "%s" is as it was made', tenant.schema_name),
                                             tenant.id, '{"repaired": [], "not_repairable": []}');
    END IF;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'repair_tenant_schema', 'success',
                                       options ->> 'requested_by', started, attempt,
                                       jsonb_build_object('repaired', repaired, 'not_repairable', not_repairable));
    RETURN edu_matrix_hub_schema._result('success', format('schema "%s" repaired: %s', tenant.schema_name,
                                                           edu_matrix_hub_schema._cut(array_to_string(repaired, '; '))),
                                         tenant.id,
                                         jsonb_build_object('repaired', repaired, 'not_repairable', not_repairable));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.repair_tenant_schema(jsonb) FROM PUBLIC;

-- Runs a statement that changes the catalogue row of a schema. A session that changes the same row in the same
-- moment, as one does that grants and revokes without end, makes it fail; so it is tried a few times, which is
-- enough to come between.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._persist(statement text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    most CONSTANT integer := 25;
BEGIN
    FOR attempt IN 1..most LOOP
        BEGIN
            EXECUTE statement;
            RETURN;
        EXCEPTION WHEN internal_error THEN
            IF attempt = most OR SQLERRM NOT IN ('tuple concurrently updated', 'tuple concurrently deleted') THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(0.002 * random());
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._persist(text) FROM PUBLIC;

-- Gives reader and writer, one of which was made again, what the default privileges would have given them on the
-- objects that the owner has already; but for USAGE on types, which only a role that makes objects of a type
-- needs. We are a member of the owner role. What one statement costs grows with the square of the objects that it
-- names, so it names 500.
--
-- The tenant chooses how these are called and what they are made of, such as an argument of a type in a schema that we
-- may not use. So what fails is left, and returned as findings are that cannot be repaired, ten at the most.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._grant_on_objects(edu_matrix_hub_schema.tenant_schemas);
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._grant_to_new_roles(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    objects   record;
    granting  text;
    grantees  text;
    single    text;
    remaining jsonb := '[]'::jsonb;
BEGIN
    FOR objects IN
        SELECT o.kind, o.granted, o.roles, array_agg(o.name) AS names
        FROM (
            SELECT w.kind, w.granted, w.roles, format('%I.%I', n.nspname, c.relname) AS name,
                   row_number() OVER (PARTITION BY w.kind, w.granted ORDER BY c.oid) AS n
            FROM pg_namespace AS n
            JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            CROSS JOIN LATERAL (SELECT CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
                                       'SELECT' AS granted, 'both' AS roles
                                UNION ALL SELECT 'SEQUENCE', 'USAGE', 'writer' WHERE c.relkind = 'S'
                                UNION ALL SELECT 'TABLE', 'INSERT, UPDATE, DELETE', 'writer'
                                          WHERE c.relkind <> 'S') AS w
            WHERE n.oid = tenant.schema_oid AND c.relowner = tenant.owner_role_oid
            UNION ALL
            SELECT 'ROUTINE', 'EXECUTE', 'writer', edu_matrix_hub_schema._routine_name(p.oid),
                   row_number() OVER (ORDER BY p.oid)
            FROM pg_proc AS p
            WHERE p.pronamespace = tenant.schema_oid AND p.proowner = tenant.owner_role_oid
        ) AS o
        GROUP BY o.kind, o.granted, o.roles, (o.n - 1) / 500
    LOOP
        granting := format('GRANT %s ON %s ', objects.granted, objects.kind);
        grantees := CASE objects.roles WHEN 'both' THEN format(' TO %I, %I', tenant.reader_role, tenant.writer_role)
                         ELSE format(' TO %I', tenant.writer_role) END;
        BEGIN
            EXECUTE granting || array_to_string(objects.names, ', ') || grantees;
            CONTINUE;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
            NULL;
        END;
        -- One of these is in the way of the others.
        FOREACH single IN ARRAY objects.names LOOP
            BEGIN
                EXECUTE granting || single || grantees;
            EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
                IF jsonb_array_length(remaining) < 10 THEN
                    remaining := remaining || jsonb_build_object(
                        'what', format('%s on %s %s is not granted', objects.granted, lower(objects.kind),
                                       edu_matrix_hub_schema._cut(single)),
                        'statement', granting || single || grantees, 'error', SQLERRM);
                END IF;
            END;
        END LOOP;
    END LOOP;
    RETURN remaining;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._grant_to_new_roles(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

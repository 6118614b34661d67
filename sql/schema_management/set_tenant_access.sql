-- Closes a tenant, wholly or to writes, or opens it again. options: {schema_id, access:
-- ReadWrite|WriteBlocked|ReadOnly|Suspended, access_cause?: Spec|Quota|Institution, requested_by?}.
--
-- WriteBlocked and ReadOnly take what others than the operator write with (see _block_writes), and give back exactly
-- that. With WriteBlocked they may delete. What the tenant's grants to others let these write is taken too, deletes
-- included, and given back as the grants say then.
--
-- Suspending records every grant on the schema that is not the owner's, takes them all, closes the tenant's own
-- logins and ends the sessions of its roles: the data stays where it is and only the owner role can name it, at the
-- next statement even in open sessions. Memberships of foreign roles are not touched, but for those of an adopted
-- schema's former owners, which are taken as ReadOnly takes them: so a view over the tenant's
-- tables that such a member made before, in a schema elsewhere or temporary in a session that is still open, is
-- read and written as before, because the server asks for USAGE only where a name is looked up. To close that too,
-- end the membership. Opening gives back exactly what was recorded, with the owner as the grantor, and the logins
-- that were closed; a grantee that was dropped meanwhile is named in the message, and a role that a user made under
-- its name gets nothing.
--
-- A session of another role that has changed the schema and not committed is waited for two seconds; then the answer is
-- `busy` and names it. Sessions that were ended by then stay ended.
--
-- detail: {ended, not_ended: [{pid, role}...]} of sessions, and `left`, the members that still may write. A suspended
-- tenant that has sessions again answers `success` once more.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.set_tenant_access(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    wanted       CONSTANT text := coalesce(options ->> 'access', '');
    attempt      text := format('set access of tenant %s to %s', options ->> 'schema_id', wanted);
    tenant       edu_matrix_hub_schema.tenant_schemas;
    sessions     jsonb := '{"ended": 0, "closed": [], "not_ended": []}'::jsonb;
    lost         text[] := '{}'::text[];
    is_new       boolean := false;
    strangers    integer := 0;
    now_is       edu_matrix_hub_schema.tenant_schemas;
    given        jsonb;
    answer       text;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant((options ->> 'schema_id')::uuid, 'access', true);
        attempt := format('set access of schema "%s" to %s', tenant.schema_name, wanted);
        IF wanted NOT IN ('ReadWrite', 'WriteBlocked', 'ReadOnly', 'Suspended') THEN
            PERFORM edu_matrix_hub_schema._refuse('internal',
                                                  'access is ReadWrite, WriteBlocked, ReadOnly or Suspended');
        END IF;
        PERFORM edu_matrix_hub_schema._require_schema(tenant);
        PERFORM edu_matrix_hub_schema._require_roles(tenant);

        IF wanted = 'Suspended' THEN
            -- First, so that no session of the tenant's own can hold up what follows with an open transaction.
            -- A backup that began when it was suspended goes on.
            sessions := edu_matrix_hub_schema._close_tenant_logins(tenant.id,
                CASE WHEN tenant.access = wanted THEN edu_matrix_hub_schema._backup_login(tenant) END);
            IF tenant.access <> wanted THEN
                IF tenant.kept_roles <> '{}' THEN
                    -- Applications of an adopted schema come in as members of the owner role.
                    sessions := sessions || edu_matrix_hub_schema._block_writes(tenant, false);
                END IF;
                UPDATE edu_matrix_hub_schema.tenant_schemas AS t
                SET saved_acl = edu_matrix_hub_schema._recorded_grants(tenant.id, tenant.schema_oid)
                WHERE t.id = tenant.id;
                -- A grant that is left then is drift, which the next surveys find and repairs take away.
                strangers := edu_matrix_hub_schema._take_schema_grants(tenant);
            END IF;
        ELSIF tenant.access <> wanted THEN
            IF tenant.access = 'Suspended' THEN
                lost := edu_matrix_hub_schema._give_back_access(tenant);
                PERFORM edu_matrix_hub_schema._let_grantees_in(tenant);
                UPDATE edu_matrix_hub_schema.tenant_schemas AS t
                SET saved_acl = NULL, closed_logins = '{}', shared_with = '{}' WHERE t.id = tenant.id;
            END IF;
            IF wanted <> 'ReadWrite' THEN
                IF wanted = 'WriteBlocked' THEN
                    PERFORM edu_matrix_hub_schema._ready_deleter(tenant);
                END IF;
                sessions := sessions || edu_matrix_hub_schema._block_writes(tenant, wanted = 'WriteBlocked');
                IF wanted = 'WriteBlocked' THEN
                    sessions := sessions || jsonb_strip_nulls(jsonb_build_object(
                        'no_deletes', edu_matrix_hub_schema._take_deletes(tenant)));
                END IF;
            ELSIF tenant.taken_members IS NOT NULL THEN
                lost := lost || edu_matrix_hub_schema._allow_writes(tenant);
                UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET shared_with = '{}' WHERE t.id = tenant.id;
            END IF;
        END IF;
        IF tenant.access <> wanted OR options ? 'access_cause'
           AND tenant.access_cause IS DISTINCT FROM options ->> 'access_cause' THEN
            UPDATE edu_matrix_hub_schema.tenant_schemas AS t
            SET access = wanted, access_cause = options ->> 'access_cause', fingerprint = NULL, reported = NULL,
                status = CASE WHEN t.status IN ('active', 'suspended')
                              THEN CASE wanted WHEN 'Suspended' THEN 'suspended' ELSE 'active' END
                              ELSE t.status END, updated_at = now()
            WHERE t.id = tenant.id;
            is_new := true;
        END IF;
        IF wanted = 'WriteBlocked' AND tenant.access <> wanted THEN
            BEGIN
                PERFORM edu_matrix_hub_schema._note_blocked_files(tenant);
            EXCEPTION WHEN OTHERS THEN
                -- Its files count whole then; the block does not wait for a file that cannot be looked at.
                NULL;
            END;
        END IF;
        SELECT * INTO STRICT now_is FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = tenant.id;
        -- Policies of writers bind who was one, and what comes back passes none.
        IF tenant.access <> wanted AND wanted <> 'Suspended'
           AND (tenant.taken_members IS NOT NULL OR now_is.taken_members IS NOT NULL)
           AND EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_row_security AS s WHERE s.schema_id = tenant.id)
           AND edu_matrix_hub_schema._tenant_lock(tenant.id, 'structure', false) THEN
            PERFORM edu_matrix_hub_schema._cover_tables(now_is, 100);
        END IF;
        IF (tenant.taken_members IS NULL) <> (now_is.taken_members IS NULL)
           AND (EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_grants AS g WHERE g.schema_id = tenant.id)
                OR EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_grantees AS h WHERE h.schema_id = tenant.id)) THEN
            -- What a user gave a grantee by hand writes as well as what its grant gave.
            given := edu_matrix_hub_schema._give_grants(tenant);
            sessions := sessions || jsonb_strip_nulls(jsonb_build_object('grants_locked', given -> 'locked'));
        END IF;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('set_tenant_access', tenant.id, options ->> 'requested_by', started,
                                                  attempt, SQLSTATE, SQLERRM, error_detail);
    END;
    IF NOT is_new AND (sessions ->> 'ended')::integer = 0 AND sessions -> 'closed' = '[]'
       AND sessions -> 'not_ended' = '[]' THEN
        RETURN edu_matrix_hub_schema._result('unchanged',
            format('access of schema "%s" is %s', tenant.schema_name, wanted), tenant.id);
    END IF;
    answer := CASE wanted
        WHEN 'ReadWrite' THEN format('schema "%s" is open', tenant.schema_name)
                              || CASE WHEN lost <> '{}'
                                      THEN '; grants of roles that are gone or were made again were not given back: '
                                           || array_to_string(lost, ', ') ELSE '' END
        WHEN 'Suspended' THEN
             format('schema "%s" is suspended, %s sessions ended', tenant.schema_name, sessions ->> 'ended')
             || CASE WHEN sessions -> 'not_ended' <> '[]'
                     THEN format('; %s could not be ended, which a superuser can',
                                 jsonb_array_length(sessions -> 'not_ended')) ELSE '' END
             || edu_matrix_hub_schema._shared_text(sessions -> 'shared_with')
             || CASE WHEN strangers > 0 THEN format('; %s other roles still have rights on it, '
                                                    'which repairs take away in turns', strangers) ELSE '' END
        ELSE format(CASE wanted WHEN 'ReadOnly' THEN 'schema "%s" is read-only'
                                ELSE 'writes to schema "%s" are blocked, and rows can be deleted' END
                    || ', %s sessions ended', tenant.schema_name, sessions ->> 'ended')
             || CASE WHEN sessions ? 'grants_locked'
                     THEN format('; its grants let others write on tables that a session has locked, until a repair '
                                 'finds them unlocked: %s', sessions ->> 'grants_locked') ELSE '' END
             || CASE WHEN sessions -> 'not_ended' <> '[]'
                     THEN format('; sessions that may still write could not be ended, and a superuser can run: '
                                 'SELECT pg_terminate_backend(%s)', sessions #>> '{not_ended,0,pid}') ELSE '' END
             || CASE WHEN sessions ? 'no_deletes'
                     THEN format('; of %s tables or views nobody deletes meanwhile, such as %s, since a delete runs '
                                 'code with the owner''s rights there', sessions #>> '{no_deletes,count}',
                                 sessions #>> '{no_deletes,name}') ELSE '' END
             || CASE WHEN sessions ->> 'prepared' IS NOT NULL
                     THEN format('; transaction %1$L is prepared and can still be committed; a superuser can run: '
                                 'ROLLBACK PREPARED %1$L', sessions ->> 'prepared') ELSE '' END
             || CASE WHEN jsonb_typeof(sessions -> 'open') = 'object'
                     THEN format('; %s grants let others write and could not be taken, such as one on %s; '
                                 'a DBA can run: %s', sessions #>> '{open,count}', sessions #>> '{open,name}',
                                 edu_matrix_hub_schema._cut(sessions #>> '{open,statement}')) ELSE '' END
             || CASE WHEN sessions -> 'left' <> '[]' AND sessions -> 'shared_with' = '[]'
                     THEN format('; %s of its writers got that from other roles, and keep it until a DBA runs what the '
                                 'next survey tells', jsonb_array_length(sessions -> 'left')) ELSE '' END
             || edu_matrix_hub_schema._shared_text(sessions -> 'shared_with')
        END;
    PERFORM edu_matrix_hub_schema._log(tenant.id, 'set_tenant_access', 'success', options ->> 'requested_by',
                                       started, attempt, sessions);
    RETURN edu_matrix_hub_schema._result('success', answer, tenant.id, sessions);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.set_tenant_access(jsonb) FROM PUBLIC;

-- An earlier release had this function under another name.
DROP FUNCTION IF EXISTS edu_matrix_hub_schema._revoke_schema_grants(edu_matrix_hub_schema.tenant_schemas);

-- Takes the grants on the schema that are not the owner's, and returns how many grantees still have some. CASCADE
-- follows what grantees with grant option gave on. A tenant can give rights to every role of the server, and taking
-- them back costs the square of their number: so those of PUBLIC and of the tenant's own roles go first, and of
-- strangers 500 by one call. With `only_strangers` the tenant's own roles and PUBLIC keep theirs.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._take_schema_grants(tenant edu_matrix_hub_schema.tenant_schemas,
                                                                     only_strangers boolean DEFAULT false)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    most     CONSTANT integer := 500;
    own      CONSTANT text[] := edu_matrix_hub_schema._own_logins(tenant)
                                || ARRAY[tenant.owner_role, tenant.reader_role, tenant.writer_role];
    grantees text[];
BEGIN
    SELECT coalesce(array_agg(d.name ORDER BY d.is_own DESC, d.name), '{}') INTO grantees
    FROM (SELECT DISTINCT coalesce(quote_ident(g ->> 'grantee'), 'PUBLIC') AS name,
                 coalesce(g ->> 'grantee' = ANY (own), true) AS is_own
          FROM jsonb_array_elements(edu_matrix_hub_schema._schema_grants(tenant.schema_oid)) AS g) AS d
    WHERE NOT (only_strangers AND d.is_own);
    IF grantees <> '{}' THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
        PERFORM edu_matrix_hub_schema._persist(format('REVOKE ALL ON SCHEMA %I FROM %s CASCADE', tenant.schema_name,
                                                      array_to_string(grantees[:most], ', ')));
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
    END IF;
    RETURN greatest(cardinality(grantees) - most, 0);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._take_schema_grants(edu_matrix_hub_schema.tenant_schemas, boolean)
    FROM PUBLIC;

-- Gives back the recorded grants and lets the closed logins in, but for one whose grace ended meanwhile, which
-- end_previous_login() finishes; returns the grantees that do not exist any more. A role that has the name of one of
-- them and another number is another role. What was recorded without numbers, before these were kept, goes by name; so
-- does what the tenant's own roles had, since a repair may have made them again.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._give_back_access(tenant edu_matrix_hub_schema.tenant_schemas)
RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    own        CONSTANT text[] := edu_matrix_hub_schema._own_logins(tenant)
                                  || ARRAY[tenant.owner_role, tenant.reader_role, tenant.writer_role];
    statements text;
    lost       text[];
    logins     text[];
BEGIN
    -- One by one, which keeps their order; of many, one statement for all that get the same, since each writes
    -- the whole list again.
    WITH saved AS (
        SELECT CASE g ->> 'privilege' WHEN 'CREATE' THEN 'CREATE' ELSE 'USAGE' END AS privilege,
               (g ->> 'grantable')::boolean AS grantable,
               g ->> 'grantee' AS grantee, s.ordinality, g ->> 'grantee' IS NULL OR r.rolname IS NOT NULL AS stands
        FROM jsonb_array_elements(tenant.saved_acl) WITH ORDINALITY AS s (g, ordinality)
        LEFT JOIN pg_roles AS r
          ON r.rolname = g ->> 'grantee'
         AND (g ->> 'oid' IS NULL OR r.oid::bigint = (g ->> 'oid')::bigint OR r.rolname = ANY (own))
    )
    SELECT (SELECT string_agg(format('GRANT %s ON SCHEMA %I TO %s%s', a.privilege, tenant.schema_name, a.grantees,
                                     CASE WHEN a.grantable THEN ' WITH GRANT OPTION' ELSE '' END),
                                     '; ' ORDER BY a.first)
            FROM (SELECT s.privilege, s.grantable, min(s.ordinality) AS first,
                         string_agg(coalesce(quote_ident(s.grantee), 'PUBLIC'), ', ' ORDER BY s.ordinality) AS grantees
                  FROM saved AS s WHERE s.stands
                  GROUP BY s.privilege, s.grantable,
                           CASE WHEN jsonb_array_length(tenant.saved_acl) <= 100 THEN s.ordinality END) AS a),
           (SELECT coalesce(array_agg(DISTINCT s.grantee), '{}') FROM saved AS s WHERE NOT s.stands)
    INTO statements, lost;
    IF statements IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
        PERFORM edu_matrix_hub_schema._persist(statements);
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
    END IF;
    -- A role with the name of a login that is gone is not ours to open.
    SELECT coalesce(array_agg(l.name), '{}') INTO logins
    FROM unnest(edu_matrix_hub_schema._own_logins(tenant)) AS l (name)
    WHERE l.name = ANY (tenant.closed_logins)
      -- A copy of a database opens none that the original may have closed.
      AND (l.name <> ALL (edu_matrix_hub_schema._issued_logins(tenant.id, false))
           OR edu_matrix_hub_schema._other_databases(own) = '{}')
      AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_credentials AS c
                      WHERE c.schema_id = tenant.id AND c.previous_login = l.name
                        AND (c.previous_until <= clock_timestamp() OR c.previous_closed_at IS NOT NULL));
    IF logins <> '{}' THEN
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'login', logins);
    END IF;
    RETURN lost;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._give_back_access(edu_matrix_hub_schema.tenant_schemas) FROM PUBLIC;

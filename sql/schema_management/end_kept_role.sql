-- Ends what a role may do in an adopted schema because it owned it or had rights on it before: its membership in the
-- owner role, and what it has on the schema. For people, once its applications have logins of their own. Rights that it
-- has on single tables are of no use without that, and stay. A session that is the owner role already stays it until it
-- ends.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.end_kept_role(schema_id uuid, role_name text)
RETURNS TABLE (status text, message text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    attempt      text := format('end what role "%s" may do in tenant %s', role_name, schema_id);
    tenant       edu_matrix_hub_schema.tenant_schemas;
    kept         oid;
    other        text;
    answer       jsonb;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        tenant := edu_matrix_hub_schema._lock_tenant($1, 'access', true);
        attempt := format('end what role "%s" may do in schema "%s"', role_name, tenant.schema_name);
        PERFORM edu_matrix_hub_schema._require_schema(tenant);
        PERFORM edu_matrix_hub_schema._require_roles(tenant);
        SELECT r.oid INTO kept FROM pg_roles AS r WHERE r.rolname = $2 AND r.oid = ANY (tenant.kept_role_oids);
        IF kept IS NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_found', format('it has nothing there from before: %s',
                coalesce('such roles are ' || nullif(array_to_string(tenant.kept_roles, ', '), ''), 'no role has')));
        END IF;
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'leave', ARRAY[$2], w.group_name)
        FROM (SELECT tenant.owner_role AS group_name
              UNION
              -- What it became a member of while writes are taken.
              SELECT CASE g.what WHEN 'reader' THEN tenant.reader_role
                                 ELSE edu_matrix_hub_schema._deleter_name(tenant) END
              FROM jsonb_array_elements(coalesce(tenant.taken_members, '[]')) AS e (value)
              CROSS JOIN LATERAL jsonb_array_elements_text(e.value -> 'given') AS g (what)
              WHERE (e.value ->> 'oid')::bigint = kept::bigint) AS w;
        SELECT pg_get_userbyid(m.grantor)::text INTO other FROM pg_auth_members AS m
        WHERE m.roleid = tenant.owner_role_oid AND m.member = kept LIMIT 1;
        IF other IS NOT NULL THEN
            PERFORM edu_matrix_hub_schema._refuse('not_repairable',
                format('another role has made it a member as well; a DBA can run: REVOKE %I FROM %I GRANTED BY %I',
                       tenant.owner_role, $2, other));
        END IF;
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'take', ARRAY[tenant.owner_role]);
        PERFORM edu_matrix_hub_schema._persist(format('REVOKE ALL ON SCHEMA %I FROM %I CASCADE', tenant.schema_name,
                                                      $2));
        PERFORM edu_matrix_hub_schema._role_command(tenant.keeper, 'give_back', ARRAY[tenant.owner_role]);
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t
        SET kept_roles = array_remove(t.kept_roles, $2), kept_role_oids = array_remove(t.kept_role_oids, kept),
            -- What a suspension or a block took does not come back either.
            saved_acl = CASE WHEN t.saved_acl IS NOT NULL
                             THEN edu_matrix_hub_schema._without_role(t.saved_acl, kept) END,
            taken_members = CASE WHEN t.taken_members IS NOT NULL
                                 THEN edu_matrix_hub_schema._without_role(t.taken_members, kept) END,
            fingerprint = NULL, updated_at = now()
        WHERE t.id = tenant.id;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            answer := edu_matrix_hub_schema._failure('end_kept_role', $1, NULL, started, attempt, SQLSTATE, SQLERRM,
                                                     error_detail);
            RETURN QUERY SELECT answer ->> 'status', answer ->> 'message';
            RETURN;
    END;
    PERFORM edu_matrix_hub_schema._log($1, 'end_kept_role', 'success', NULL, started, attempt);
    RETURN QUERY SELECT 'success',
                        format('role "%s" is no member of "%s" any more, and has no right on schema "%s"', $2,
                               tenant.owner_role, tenant.schema_name);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.end_kept_role(uuid, text) FROM PUBLIC;

-- Entries of saved_acl or taken_members but for those of one role.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._without_role(entries jsonb, role oid) RETURNS jsonb
LANGUAGE sql IMMUTABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(jsonb_agg(e.value ORDER BY e.n) FILTER (WHERE (e.value ->> 'oid')::bigint
                                                                  IS DISTINCT FROM role::bigint), '[]')
    FROM jsonb_array_elements(entries) WITH ORDINALITY AS e (value, n)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._without_role(jsonb, oid) FROM PUBLIC;

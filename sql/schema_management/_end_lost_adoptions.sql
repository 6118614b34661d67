-- Ends adoptions whose schema was dropped before all of it had moved: the roles that were made for it go, and of the
-- row remains what does of a tenant that was dropped, without an object. A survey calls this, for a few of them. It
-- waits for nothing: what a call has in hand, and what something keeps, comes with a later one; why is in the log.
--
-- After a restore or an upgrade of the server no identifier means what it meant, and nothing is taken for dropped.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_lost_adoptions(started timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    adoption     edu_matrix_hub_schema.tenant_adoptions;
    attempt      text;
    error_detail text;
BEGIN
    IF edu_matrix_hub_schema._world_moved() THEN
        RETURN;
    END IF;
    FOR adoption IN
        SELECT a.* FROM edu_matrix_hub_schema.tenant_adoptions AS a
        WHERE NOT EXISTS (SELECT FROM pg_namespace AS n WHERE n.oid = a.schema_oid)
        ORDER BY random() LIMIT 5 FOR UPDATE SKIP LOCKED
    LOOP
        attempt := format('remove the roles that were made to adopt schema "%s", which was dropped meanwhile',
                          adoption.schema_name);
        BEGIN
            INSERT INTO edu_matrix_hub_schema.tenant_schemas
                (id, schema_name, schema_oid, status, keeper, owner_role, reader_role, writer_role, owner_role_oid,
                 reader_role_oid, writer_role_oid, dropped_at)
            VALUES (adoption.schema_id, adoption.schema_name, adoption.schema_oid, 'dropped', adoption.keeper,
                    adoption.owner_role, adoption.reader_role, adoption.writer_role, adoption.owner_role_oid,
                    adoption.reader_role_oid, adoption.writer_role_oid, started);
            PERFORM edu_matrix_hub_schema._drop_tenant_roles(adoption.schema_id);
            DELETE FROM edu_matrix_hub_schema.tenant_adoptions AS a WHERE a.schema_id = adoption.schema_id;
            PERFORM edu_matrix_hub_schema._log(adoption.schema_id, 'adopt_tenant_schema', 'success', NULL, started,
                attempt, jsonb_build_object('owner', jsonb_build_object('namespace', adoption.owner_namespace,
                                                               'name', adoption.owner_name),
                                   'moved', adoption.moved, 'total', adoption.total));
        EXCEPTION
            WHEN serialization_failure OR deadlock_detected THEN RAISE;
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
                PERFORM edu_matrix_hub_schema._failure('adopt_tenant_schema', adoption.schema_id, NULL, started,
                                                       attempt, SQLSTATE, SQLERRM, error_detail);
        END;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_lost_adoptions(timestamptz) FROM PUBLIC;

-- Finds out again which schemas and roles the registry's rows are of, after a dump was restored or the server upgraded,
-- when every schema has a new identifier; or after one schema was restored from a dump.
--
-- A row whose schema is nowhere is bound to the one that belongs to the tenant's owner role and whose comment is the
-- tenant's: no stranger's has both. Its name may be another; that is told afterwards, with the statement. A backup is
-- bound to the schema of its location that is ours and has its comment. All others are named, and unknown from then on.
-- A row whose schema stands is not touched, so that a call that comes again, or too late, changes nothing.
--
-- options: {installation_id, requested_by?}. detail: {bound, left: [{schema, why}...]} (the first fifty).
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.rebind_tenants(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    started      CONSTANT timestamptz := clock_timestamp();
    moved        CONSTANT boolean := edu_matrix_hub_schema._world_moved();
    bound        bigint;
    backups      integer := 0;
    adoption     edu_matrix_hub_schema.tenant_adoptions;
    found        record;
    remaining    jsonb := '[]'::jsonb;
    answer       text;
    error_detail text;
BEGIN
    BEGIN
        PERFORM edu_matrix_hub_schema._need_read_committed();
        IF (SELECT i.installation_id FROM edu_matrix_hub_schema.installation AS i) IS DISTINCT FROM (
            options ->> 'installation_id')::uuid THEN
            PERFORM edu_matrix_hub_schema._refuse('wrong_installation', 'this database holds another installation');
        END IF;
        WITH absent AS MATERIALIZED (
            SELECT t.*
            FROM edu_matrix_hub_schema.tenant_schemas AS t
            LEFT JOIN pg_namespace AS n ON n.oid = t.schema_oid AND (n.nspname = t.schema_name OR NOT moved)
            WHERE t.status <> 'dropped' AND n.oid IS NULL
            FOR UPDATE OF t
        ), candidate AS (
            SELECT DISTINCT ON (a.id) a.id, n.oid AS schema, r.oid AS owner
            FROM absent AS a
            JOIN pg_roles AS r ON r.rolname = a.owner_role
             AND (moved OR a.owner_role_oid IS NULL OR r.oid = a.owner_role_oid)
            JOIN pg_namespace AS n ON n.nspowner = r.oid
            JOIN pg_description AS d ON d.classoid = 'pg_namespace'::regclass AND d.objoid = n.oid AND d.objsubid = 0
                                    AND d.description = 'tenant ' || a.id
            ORDER BY a.id, n.nspname = a.schema_name DESC, n.oid
        ), next AS (
            SELECT a.id, a.schema_name, a.owner_role, c.schema, b.oid AS bearer, pg_get_userbyid(b.nspowner) AS holder,
                   -- By name where the identifiers are of another world, if no other schema makes the names doubtful.
                   CASE WHEN c.id IS NOT NULL OR moved AND b.oid IS NULL THEN
                            to_regrole(quote_ident(a.owner_role))::oid END AS owner,
                   CASE WHEN c.id IS NOT NULL OR moved AND b.oid IS NULL THEN
                            to_regrole(quote_ident(a.reader_role))::oid END AS reader,
                   CASE WHEN c.id IS NOT NULL OR moved AND b.oid IS NULL THEN
                            to_regrole(quote_ident(a.writer_role))::oid END AS writer,
                   a.reader_role_oid, a.writer_role_oid
            FROM absent AS a
            LEFT JOIN candidate AS c ON c.id = a.id
            LEFT JOIN pg_namespace AS b ON b.nspname = a.schema_name
        ), written AS (
            UPDATE edu_matrix_hub_schema.tenant_schemas AS t
            SET schema_oid = n.schema, owner_role_oid = n.owner,
                reader_role_oid = CASE WHEN moved OR NOT EXISTS (SELECT FROM pg_roles AS r
                                                                 WHERE r.oid = n.reader_role_oid) THEN n.reader
                                       ELSE t.reader_role_oid END,
                writer_role_oid = CASE WHEN moved OR NOT EXISTS (SELECT FROM pg_roles AS r
                                                                 WHERE r.oid = n.writer_role_oid) THEN n.writer
                                       ELSE t.writer_role_oid END,
                login_oids = CASE WHEN NOT moved THEN t.login_oids
                                  WHEN n.owner IS NOT NULL THEN edu_matrix_hub_schema._bearing_logins(t)
                                  ELSE array_fill(NULL::oid, ARRAY[cardinality(t.logins)]) END,
                kept_role_oids = CASE WHEN NOT moved THEN t.kept_role_oids
                                      ELSE ARRAY(SELECT r.oid FROM pg_roles AS r
                                                 WHERE r.rolname = ANY (t.kept_roles)) END,
                fingerprint = NULL, write_signature = -1, reported = NULL, updated_at = now()
            FROM next AS n
            WHERE t.id = n.id AND (moved OR n.schema IS NOT NULL)
            RETURNING t.schema_oid
        )
        SELECT count(*) FILTER (WHERE n.schema IS NOT NULL),
               coalesce(jsonb_agg(jsonb_build_object('schema', n.schema_name, 'why',
                   CASE WHEN n.bearer IS NULL THEN 'no schema has its name, nor the tenant''s owner role and comment'
                        WHEN n.holder = n.owner_role
                        THEN format('its comment does not say whose it is; if it is the tenant''s: '
                                    'COMMENT ON SCHEMA %I IS %L, and once more', n.schema_name, 'tenant ' || n.id)
                        ELSE format('the schema of its name belongs to role "%s"', n.holder) END)
                   ORDER BY n.schema_name) FILTER (WHERE n.schema IS NULL), '[]')
        INTO bound, remaining
        FROM next AS n, (SELECT count(*) FROM written) AS done;

        -- An adoption goes on from its beginning: what has moved is passed over. One that cannot is forgotten with its
        -- numbers, since these may be another schema's and other roles' now.
        FOR adoption IN
            DELETE FROM edu_matrix_hub_schema.tenant_adoptions AS a
            WHERE edu_matrix_hub_schema._world_moved()
               OR NOT EXISTS (SELECT FROM pg_namespace AS n WHERE n.oid = a.schema_oid)
            RETURNING a.*
        LOOP
            SELECT n.oid AS schema, o.oid AS owner, rd.oid AS reader, wr.oid AS writer INTO found
            FROM pg_namespace AS n
            JOIN pg_roles AS o ON o.oid = n.nspowner AND o.rolname = adoption.owner_role
            JOIN pg_roles AS rd ON rd.rolname = adoption.reader_role
            JOIN pg_roles AS wr ON wr.rolname = adoption.writer_role
            WHERE obj_description(n.oid, 'pg_namespace') = 'tenant ' || adoption.schema_id;
            IF found.schema IS NOT NULL THEN
                adoption.schema_oid := found.schema;
                adoption.owner_role_oid := found.owner;
                adoption.reader_role_oid := found.reader;
                adoption.writer_role_oid := found.writer;
                adoption.round := 1;
                adoption.at_class := 0;
                adoption.at_object := 0;
                adoption.held := '{}';
                adoption.moved := 0;
                bound := bound + 1;
            ELSIF moved THEN
                remaining := remaining || jsonb_build_object('schema', adoption.schema_name, 'why',
                    format('its adoption had begun, and no schema has its comment and belongs to role "%s"',
                           adoption.owner_role));
                CONTINUE;
            END IF;
            INSERT INTO edu_matrix_hub_schema.tenant_adoptions SELECT adoption.*;
        END LOOP;

        -- What was known of their tables, views and functions is of other identifiers; our policies are known by their
        -- names and made again. What stands has what its owner gave, and what was taken of it is not given back.
        DELETE FROM edu_matrix_hub_schema.row_security_objects AS o
        USING edu_matrix_hub_schema.tenant_schemas AS t
        WHERE t.id = o.schema_id AND t.fingerprint IS NULL AND t.updated_at = now();
        INSERT INTO edu_matrix_hub_schema.row_security_objects (schema_id, object_oid, is_routine)
        SELECT s.schema_id, o.object_oid, o.is_routine
        FROM edu_matrix_hub_schema.tenant_row_security AS s
        JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = s.schema_id
        CROSS JOIN LATERAL edu_matrix_hub_schema._objects_of(t.schema_oid) AS o
        WHERE s.mode = 'Required' AND t.fingerprint IS NULL AND t.updated_at = now();

        IF moved THEN
            -- These numbers are other roles' here; those that have a grant come back with the next repair.
            DELETE FROM edu_matrix_hub_schema.tenant_grantees;
            -- On the same server the number of a database still means the same.
            UPDATE edu_matrix_hub_schema.opened_logins AS o SET made_in = NULL
            FROM edu_matrix_hub_schema.installation AS i
            WHERE i.system_identifier IS DISTINCT FROM edu_matrix_hub_schema._system_identifier();
            UPDATE edu_matrix_hub_schema.tenant_grants AS g SET role_oid = NULL WHERE g.role_oid IS NOT NULL;
            UPDATE edu_matrix_hub_schema.role_keepers AS k
            SET role_oid = p.proowner
            FROM pg_proc AS p
            WHERE p.pronamespace = 'edu_matrix_hub_schema'::regnamespace AND p.proname = k.function_name
              AND pg_get_userbyid(p.proowner) = k.role_name;
            -- The roles by which logins connect came along where this database has the number that the former one had.
            UPDATE edu_matrix_hub_schema.installation AS i
            SET connect_role_oid = (SELECT r.oid FROM pg_roles AS r
                                    WHERE r.rolname = edu_matrix_hub_schema._connect_role_name() AND NOT r.rolcanlogin);
            UPDATE edu_matrix_hub_schema.role_keepers AS k
            SET connect_role_oid = (SELECT r.oid FROM pg_roles AS r
                                    WHERE r.rolname = edu_matrix_hub_schema._connect_role_name(k.n)
                                      AND NOT r.rolcanlogin);
        END IF;
        UPDATE edu_matrix_hub_schema.schema_backups AS b
        SET location_oid = f.oid
        FROM (SELECT w.id, n.oid
              FROM edu_matrix_hub_schema.schema_backups AS w
              LEFT JOIN pg_namespace AS n
                ON n.nspname = w.location AND n.nspowner = current_user::regrole
               AND obj_description(n.oid, 'pg_namespace') = CASE w.method WHEN 'Snapshot' THEN 'snapshot of tenant '
                                                                 ELSE 'tenant ' END || w.schema_id
              WHERE w.state IN ('complete', 'purging') AND w.method <> 'Archive'
                AND NOT EXISTS (SELECT FROM pg_namespace AS own WHERE own.oid = w.location_oid
                                  AND (own.nspname = w.location OR NOT moved))
             ) AS f
        WHERE b.id = f.id AND b.location_oid IS DISTINCT FROM f.oid AND (moved OR f.oid IS NOT NULL);
        GET DIAGNOSTICS backups = ROW_COUNT;
        -- The roles of what was set aside go with it.
        UPDATE edu_matrix_hub_schema.tenant_schemas AS t
        SET schema_oid = b.location_oid, owner_role_oid = to_regrole(quote_ident(t.owner_role)),
            reader_role_oid = to_regrole(quote_ident(t.reader_role)),
            writer_role_oid = to_regrole(quote_ident(t.writer_role)),
            login_oids = edu_matrix_hub_schema._bearing_logins(t)
        FROM edu_matrix_hub_schema.schema_backups AS b
        WHERE moved AND t.status = 'dropped' AND b.schema_id = t.id AND b.method = 'SetAside'
          AND b.state IN ('complete', 'purging') AND b.location_oid IS NOT NULL;
        IF moved THEN
            PERFORM edu_matrix_hub_schema._keep_quiet('it was bound again after a restore or an upgrade of the server');
        END IF;
        UPDATE edu_matrix_hub_schema.installation AS i
        SET registry_oid = 'edu_matrix_hub_schema'::regnamespace,
            system_identifier = edu_matrix_hub_schema._system_identifier(), updated_at = now()
        WHERE moved;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('rebind_tenants', NULL, options ->> 'requested_by', started,
                                                  'bind the tenants again', SQLSTATE, SQLERRM, error_detail);
    END;
    IF bound = 0 AND backups = 0 AND NOT moved THEN
        RETURN edu_matrix_hub_schema._result('unchanged', 'every schema that can be bound is', NULL,
                                             jsonb_build_object('bound', 0, 'left', remaining));
    END IF;
    SELECT coalesce(jsonb_agg(r.value ORDER BY r.n) FILTER (WHERE r.n <= 50), '[]'),
           format('%s schemas and %s backups bound again', bound, backups)
           || CASE WHEN count(*) > 0 THEN format('; %s are not: %s', count(*),
                  string_agg(format('%s (%s)', r.value ->> 'schema', r.value ->> 'why'), ', '
                             ORDER BY r.n) FILTER (WHERE r.n <= 10)) ELSE '' END
           || CASE WHEN count(*) > 10 THEN ' and more' ELSE '' END
    INTO remaining, answer
    FROM jsonb_array_elements(remaining) WITH ORDINALITY AS r (value, n);
    PERFORM edu_matrix_hub_schema._log(NULL, 'rebind_tenants', 'success', options ->> 'requested_by', started,
                                       'bind the tenants again',
                                       jsonb_build_object('bound', bound, 'backups', backups, 'left', remaining));
    RETURN edu_matrix_hub_schema._result('success', answer, NULL,
                                         jsonb_build_object('bound', bound, 'backups', backups, 'left', remaining));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.rebind_tenants(jsonb) FROM PUBLIC;

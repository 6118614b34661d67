-- Prepares a database in which the archive of a job is restored to prove it: it notes the name, and answers with the
-- statements that make it, which cannot be run in a function. It is like this one, of the same encoding and locale,
-- made from template0, and no role but its owner and this tenant's run login can come into it from its first moment on.
-- The caller makes it, and says so by note_scratch().
--
-- options: {extensions: [{name, version, schema}...]}, which the schema needs. detail: {name, make: [statement...],
-- prepare: [statement...], because?}. `prepare` is run in the database that was made. `because` says why this login can
-- make none; then nothing is noted.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.begin_scratch(epoch bigint, installation_id uuid, job_id uuid,
                                                               options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '5s'
AS $function$
DECLARE
    started       CONSTANT timestamptz := clock_timestamp();
    answer        jsonb := edu_matrix_hub_schema._hold_job(epoch, installation_id, job_id, 'archive', false);
    job           edu_matrix_hub_schema.schema_jobs;
    tenant        edu_matrix_hub_schema.tenant_schemas;
    scratch       text := 'edu_matrix_scratch_' || replace(gen_random_uuid()::text, '-', '');
    attempt       CONSTANT text := format('prepare a database to restore the archive of job %s in', job_id);
    error_detail  text;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    SELECT * INTO STRICT job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = begin_scratch.job_id;
    BEGIN
        tenant := edu_matrix_hub_schema._lock_tenant(job.schema_id, 'structure', false);
        PERFORM edu_matrix_hub_schema._require_roles(tenant);
        -- It is this session that makes it, and not the owner of this function.
        IF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = session_user AND (r.rolcreatedb OR r.rolsuper)) THEN
            RETURN edu_matrix_hub_schema._result('success', 'no database can be made', job.schema_id,
                jsonb_build_object('name', scratch, 'make', '{}'::text[], 'prepare', '{}'::text[], 'because',
                    format('the operator''s login may make no database: ALTER ROLE %I CREATEDB', session_user)));
        END IF;
        INSERT INTO edu_matrix_hub_schema.scratch_databases (name, job_id) VALUES (scratch, job.id);
        UPDATE edu_matrix_hub_schema.schema_jobs AS j SET heartbeat_at = clock_timestamp() WHERE j.id = job.id;
    EXCEPTION
        WHEN serialization_failure OR deadlock_detected THEN RAISE;
        WHEN query_canceled OR OTHERS THEN
            GET STACKED DIAGNOSTICS error_detail = PG_EXCEPTION_DETAIL;
            RETURN edu_matrix_hub_schema._failure('backup', job.schema_id, job.requested_by, started, attempt,
                                                  SQLSTATE, SQLERRM, error_detail);
    END;
    RETURN edu_matrix_hub_schema._result('success', format('database "%s" may be made', scratch), job.schema_id,
        jsonb_build_object('name', scratch, 'make', jsonb_build_array(
            edu_matrix_hub_schema._like_this_database(scratch),
            format('REVOKE ALL ON DATABASE %I FROM PUBLIC', scratch),
            -- The owner role may not connect: before PostgreSQL 16 all logins of the tenant's would have that from it.
            format('GRANT CONNECT ON DATABASE %I TO %I', scratch, edu_matrix_hub_schema._run_name(tenant)),
            format('GRANT CREATE ON DATABASE %I TO %I', scratch, tenant.owner_role),
            format('ALTER DATABASE %I CONNECTION LIMIT 4', scratch)),
        'prepare', (SELECT coalesce(jsonb_agg(p.statement ORDER BY e.n, p.n), '[]')
                    FROM jsonb_array_elements(coalesce(nullif(options -> 'extensions', 'null'), '[]'))
                         WITH ORDINALITY AS e (value, n)
                    CROSS JOIN LATERAL (VALUES
                        (1, CASE WHEN e.value ->> 'schema' <> 'pg_catalog'
                                 THEN format('CREATE SCHEMA IF NOT EXISTS %I', e.value ->> 'schema') END),
                        (2, CASE WHEN e.value ->> 'schema' <> 'pg_catalog'
                                 THEN format('GRANT USAGE ON SCHEMA %I TO PUBLIC', e.value ->> 'schema') END),
                        (3, format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I VERSION %L CASCADE',
                                   e.value ->> 'name', e.value ->> 'schema', e.value ->> 'version')))
                        AS p (n, statement)
                    WHERE p.statement IS NOT NULL)));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.begin_scratch(bigint, uuid, uuid, jsonb) FROM PUBLIC;

-- The statement that makes a database of the encoding and locale of this one, into which no role can come yet.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._like_this_database(name text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT format('CREATE DATABASE %I TEMPLATE template0 CONNECTION LIMIT 0 ENCODING %L LC_COLLATE %L LC_CTYPE %L',
                  _like_this_database.name, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype)
        || CASE d.datlocprovider
               WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', l.locale)
                   -- PostgreSQL 15 has no rules.
                   || coalesce(format(' ICU_RULES %L', to_jsonb(d) ->> 'daticurules'), '')
               WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', l.locale)
               ELSE ' LOCALE_PROVIDER libc' END
    FROM pg_database AS d
    -- The column has another name from PostgreSQL 17 on.
    CROSS JOIN LATERAL (SELECT coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale) AS l
    WHERE d.datname = current_database()
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._like_this_database(text) FROM PUBLIC;

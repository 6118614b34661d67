-- Prepares a database in which the archive of a job is restored to prove it: it notes the name, and answers with the
-- statements that make it, which cannot be run in a function. It is like this one, of the same encoding and locale,
-- made from template0, and in the beginning no role but its owner can come into it.
--
-- options: {extensions: [{name, version, schema}...]}, which the schema needs. detail: {name, make: [statement...],
-- prepare: [statement...], open: [statement...], seal, because?}. The caller makes it, says so by note_scratch(), runs
-- `prepare` in it, then `open`, which lets the tenant's run login in, and `seal` when the tenant's owner role has made
-- its schema there: with the right to make another it could install extensions. `because` says why there can be none;
-- then nothing is noted.
--
-- An extension is made only if the server trusts it: which ones are needed is what the tenant's objects say.
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
    extensions    CONSTANT jsonb := coalesce(nullif(options -> 'extensions', 'null'), '[]');
    because       text;
    error_detail  text;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    SELECT * INTO STRICT job FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.id = begin_scratch.job_id;
    BEGIN
        tenant := edu_matrix_hub_schema._lock_tenant(job.schema_id, 'structure', false);
        PERFORM edu_matrix_hub_schema._require_roles(tenant);
        because := CASE
            -- It is this session that makes it, and not the owner of this function.
            WHEN NOT EXISTS (SELECT FROM pg_roles AS r
                             WHERE r.rolname = session_user AND (r.rolcreatedb OR r.rolsuper))
                THEN format('the operator''s login may make no database: ALTER ROLE %I CREATEDB', session_user)
            -- A database with a prepared transaction cannot be removed, and only who prepared it can end it.
            WHEN current_setting('max_prepared_transactions')::integer > 0
                THEN format('max_prepared_transactions is %s, and by a prepared transaction a tenant could keep its '
                            'scratch database for ever; set it to 0 where applications do not need it',
                            current_setting('max_prepared_transactions'))
            WHEN (SELECT count(*) FROM edu_matrix_hub_schema.scratch_databases AS c
                  JOIN pg_database AS d ON d.datname = c.name
                  WHERE NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_jobs AS j
                                    WHERE j.id = c.job_id AND j.state = 'running')) >= 8
                THEN 'eight scratch databases are left that cannot be removed; what keeps them: SELECT * FROM '
                     'pg_stat_activity WHERE datname LIKE ''edu_matrix_scratch_%'''
            ELSE (SELECT format('the server does not trust extension %s in any database', e.value ->> 'name')
                  FROM jsonb_array_elements(extensions) AS e (value)
                  WHERE NOT EXISTS (SELECT FROM pg_available_extension_versions AS v
                                    WHERE v.name = e.value ->> 'name' AND v.version = e.value ->> 'version'
                                      AND v.trusted)
                  LIMIT 1) END;
        IF because IS NOT NULL THEN
            RETURN edu_matrix_hub_schema._result('success', 'no database can be made', job.schema_id,
                jsonb_build_object('name', scratch, 'make', '{}'::text[], 'prepare', '{}'::text[], 'open', '{}'::text[],
                                   'seal', '', 'because', because));
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
            format('ALTER DATABASE %I CONNECTION LIMIT 4', scratch)),
        'open', jsonb_build_array(
            -- The owner role may not connect: before PostgreSQL 16 all logins of the tenant's would have that from it.
            format('GRANT CONNECT ON DATABASE %I TO %I', scratch, edu_matrix_hub_schema._run_name(tenant)),
            format('GRANT CREATE ON DATABASE %I TO %I', scratch, tenant.owner_role)),
        'seal', format('REVOKE CREATE ON DATABASE %I FROM %I', scratch, tenant.owner_role),
        'prepare', (SELECT coalesce(jsonb_agg(p.statement ORDER BY e.n, p.n), '[]')
                    FROM jsonb_array_elements(extensions) WITH ORDINALITY AS e (value, n)
                    LEFT JOIN pg_namespace AS n
                      ON n.nspname = e.value ->> 'schema' AND n.nspname <> 'pg_catalog'
                    CROSS JOIN LATERAL (VALUES
                        (1, CASE WHEN e.value ->> 'schema' <> 'pg_catalog'
                                 THEN format('CREATE SCHEMA IF NOT EXISTS %I', e.value ->> 'schema') END),
                        (2, CASE WHEN has_schema_privilege(tenant.owner_role, n.oid, 'USAGE')
                                 THEN format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, tenant.owner_role) END),
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
        || CASE WHEN has_tablespace_privilege(session_user, d.dattablespace, 'CREATE')
                THEN coalesce((SELECT format(' TABLESPACE %I', t.spcname) FROM pg_tablespace AS t
                                WHERE t.oid = d.dattablespace AND t.spcname <> 'pg_default'), '')
                ELSE '' END
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

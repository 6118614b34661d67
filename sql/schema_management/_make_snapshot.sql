-- Copies a tenant's data into a schema of our own and returns what there is to know about it:
-- {location, size_bytes, table_count, row_count, checksum, left_out, manifest}. docs/snapshots.md says what a
-- snapshot is and is not.
--
-- The copies are plain tables of built-in types under the tables' own names, without constraints, indexes or
-- triggers. All tables are copied by one statement, so they are of one instant even in READ COMMITTED; sequences are
-- read after it, so a position is never behind the data. That statement runs in a sandbox as the tenant's owner, who
-- may insert into the copies for just this transaction; afterwards they are the owner role's alone. Counts and hashes
-- are taken from the copies.
--
-- The list of tables is compared before and after. A table that came, went or changed in between ends the snapshot as
-- `busy`; after the copy, the locks keep tables as they are until the definitions have been read. To read these takes
-- locks that the copy does not, and these are waited for before it: a call that waits there has copied nothing yet.
-- What ends the snapshot after the copy, the tenant did; it is counted as such, or the copy would be made again without
-- end.
--
-- The caller runs it in a sub-block, so a failure leaves nothing, holds the tenant's structure lock, and
-- closes the sandbox.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._make_snapshot(schema_id uuid, sandbox text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET lock_timeout = '30s'
SET client_min_messages = warning
AS $function$
DECLARE
    taken_at   CONSTANT timestamptz := clock_timestamp();
    tenant     edu_matrix_hub_schema.tenant_schemas;
    namespace  oid;
    reader     oid;
    location   text;
    tables     jsonb;
    wanted     bigint;
    budget     CONSTANT bigint := edu_matrix_hub_schema._lock_budget();
    copying    text;
    sequences  text;
    copy       record;
    positions  jsonb;
    content    jsonb;
    definitions jsonb;
    manifest   jsonb;
BEGIN
    SELECT * INTO STRICT tenant FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = schema_id;
    namespace := edu_matrix_hub_schema._require_schema(tenant);
    reader := edu_matrix_hub_schema._require_reader(tenant, namespace);

    SELECT coalesce(jsonb_agg(to_jsonb(t) - 'pages' ORDER BY t.relation), '[]'), coalesce(sum(t.locks), 0)::bigint
           + (SELECT count(*) FROM pg_class AS c WHERE c.relnamespace = namespace AND c.relkind = 'S')
    INTO tables, wanted
    FROM edu_matrix_hub_schema._snapshot_tables(namespace, reader) AS t;
    PERFORM edu_matrix_hub_schema._refuse_unreadable(tenant, tables);
    IF wanted > budget THEN
        PERFORM edu_matrix_hub_schema._refuse('too_many_tables',
            format('its %s tables take %s locks at once and a snapshot may take %s (half of max_locks_per_transaction '
                   '* (max_connections + max_prepared_transactions)); '
                   'raise max_locks_per_transaction to %s, or use method Archive, which needs fewer',
                   jsonb_array_length(tables), wanted, budget,
                   ceil(2.2 * wanted / (current_setting('max_connections')::numeric
                                        + current_setting('max_prepared_transactions')::numeric))),
            jsonb_build_object('tables', jsonb_array_length(tables), 'locks', wanted, 'budget', budget));
    END IF;

    PERFORM edu_matrix_hub_schema._wait_for_definitions(namespace);
    location := edu_matrix_hub_schema._backup_location(tenant.schema_name, taken_at);
    BEGIN
        EXECUTE format('CREATE SCHEMA %I', location);
    EXCEPTION WHEN duplicate_schema OR unique_violation THEN
        PERFORM edu_matrix_hub_schema._refuse('busy', format('another backup has just become schema "%s"', location));
    END;
    EXECUTE format('COMMENT ON SCHEMA %I IS %L', location, 'snapshot of tenant ' || schema_id);
    FOR copy IN
        SELECT t.value ->> 'name' AS name, t.value ->> 'create_columns' AS create_columns
        FROM jsonb_array_elements(tables) AS t (value)
    LOOP
        EXECUTE format('CREATE TABLE %I.%I (%s)', location, copy.name, copy.create_columns);
    END LOOP;
    PERFORM edu_matrix_hub_schema._no_row_security(location);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', location, tenant.owner_role);
    EXECUTE format('GRANT INSERT ON ALL TABLES IN SCHEMA %I TO %I', location, tenant.owner_role);

    SELECT 'WITH ' || string_agg(
               format('c%s AS (INSERT INTO %I.%I SELECT %s FROM ONLY %I.%I AS source)', t.n, location,
                      t.value ->> 'name', t.value ->> 'select_list', tenant.schema_name, t.value ->> 'name'),
               ', ' ORDER BY t.n) || ' SELECT 1'
    INTO copying
    FROM jsonb_array_elements(tables) WITH ORDINALITY AS t (value, n);
    SELECT format('INSERT INTO %I.result ', sandbox) || string_agg(
               format('SELECT 2, pg_catalog.jsonb_build_object(''name'', %L, ''last_value'', s.last_value, '
                      '''is_called'', s.is_called) FROM %I.%I AS s',
                      c.relname, tenant.schema_name, c.relname), ' UNION ALL ' ORDER BY c.relname COLLATE "C")
    INTO sequences
    FROM pg_class AS c WHERE c.relnamespace = namespace AND c.relkind = 'S';
    positions := edu_matrix_hub_schema._enter_sandbox(schema_id, sandbox,
        jsonb_build_array(jsonb_build_object('statement', coalesce(copying, 'SELECT 1')),
                          jsonb_build_object('statement', coalesce(sequences, 'SELECT 1'))));

    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', location, tenant.owner_role);
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', location, tenant.owner_role);
    PERFORM edu_matrix_hub_schema._only_ours(location);
    IF tables IS DISTINCT FROM (SELECT coalesce(jsonb_agg(to_jsonb(t) - 'pages' ORDER BY t.relation), '[]')
                                FROM edu_matrix_hub_schema._snapshot_tables(namespace, reader) AS t) THEN
        PERFORM edu_matrix_hub_schema._refuse('busy',
            'its tables were changed while they were copied; it will be tried again', '{"tenant": true}');
    END IF;

    BEGIN
        definitions := edu_matrix_hub_schema._describe_schema(namespace);
    EXCEPTION
        -- The server cannot write a value of that length, or an expression of that depth.
        WHEN program_limit_exceeded OR internal_error THEN
            IF edu_matrix_hub_schema._may_pass(SQLSTATE, SQLERRM)
               OR SQLSTATE = 'XX000' AND NOT starts_with(SQLERRM, 'invalid memory alloc request size') THEN
                RAISE;
            END IF;
            definitions := '{"left_out": {"relations": null, "types": null, "functions": null, "operators": null, '
                           '"others": null, "grants": null, "comments": null}}';
        WHEN lock_not_available THEN
            PERFORM edu_matrix_hub_schema._refuse('busy',
                'its definitions were locked while its tables were copied: ' || SQLERRM,
                '{"tenant": true, "sqlstate": "55P03"}');
    END;
    content := edu_matrix_hub_schema._snapshot_content(location, tables);
    manifest := jsonb_build_object(
        'format', 1, 'method', 'Snapshot', 'schema', tenant.schema_name, 'schema_id', schema_id,
        'institution_id', tenant.institution_id, 'location', location, 'taken_at', taken_at,
        'server_version_num', current_setting('server_version_num')::integer,
        'encoding', current_setting('server_encoding'),
        'functions', (SELECT i.functions_version FROM edu_matrix_hub_schema.installation AS i),
        'tables', content,
        'sequences', (SELECT coalesce(jsonb_agg(s.value -> 'value' ORDER BY s.value #>> '{value,name}'), '[]')
                      FROM jsonb_array_elements(positions) AS s (value)),
        'definitions', definitions);
    RETURN jsonb_build_object(
        'location', location,
        'table_count', jsonb_array_length(content),
        'row_count', (SELECT coalesce(sum((t.value ->> 'rows')::bigint), 0)
                      FROM jsonb_array_elements(content) AS t (value)),
        'size_bytes', (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class AS c
                       WHERE c.relnamespace = quote_ident(location)::regnamespace AND c.relkind = 'r'),
        'checksum', encode(sha256(convert_to(content::text, 'UTF8')), 'hex'),
        'left_out', definitions -> 'left_out',
        'manifest', manifest);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._make_snapshot(uuid, text) FROM PUBLIC;

-- The role that reads a tenant's tables for a backup: its owner role. Refuses when that may not use the schema.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._require_reader(tenant edu_matrix_hub_schema.tenant_schemas,
                                                                 namespace oid) RETURNS oid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    reader CONSTANT oid := (SELECT r.oid FROM pg_roles AS r
                            WHERE r.oid = tenant.owner_role_oid AND r.rolname = tenant.owner_role);
BEGIN
    IF reader IS NULL OR NOT has_schema_privilege(reader, namespace, 'USAGE') THEN
        PERFORM edu_matrix_hub_schema._refuse('insufficient_privilege',
            format('its owner role "%s" is missing or may not use the schema; repair the tenant first',
                   tenant.owner_role));
    END IF;
    RETURN reader;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._require_reader(edu_matrix_hub_schema.tenant_schemas, oid) FROM PUBLIC;

-- Refuses when the owner role cannot read one of these tables whole, of which _snapshot_tables says so.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._refuse_unreadable(tenant edu_matrix_hub_schema.tenant_schemas,
                                                                    tables jsonb) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    unreadable record;
BEGIN
    SELECT count(*) AS total,
           (array_agg(t.value ->> 'name'))[:50] AS names, (array_agg(t.value ->> 'statement'))[:50] AS statements,
           (array_agg(format('%s (%s; %s)', t.value ->> 'name', t.value ->> 'problem',
                             t.value ->> 'statement')))[:10] AS lines
    INTO unreadable
    FROM jsonb_array_elements(tables) AS t (value)
    WHERE t.value ->> 'problem' IS NOT NULL;
    IF unreadable.total > 0 THEN
        PERFORM edu_matrix_hub_schema._refuse('unreadable_tables',
            format('role "%s" cannot read %s of its tables whole: %s%s', tenant.owner_role, unreadable.total,
                   array_to_string(unreadable.lines, ', '), CASE WHEN unreadable.total > 10 THEN ', ...' ELSE '' END),
            jsonb_build_object('tables', unreadable.names, 'statements', unreadable.statements,
                               'table_count', unreadable.total));
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._refuse_unreadable(edu_matrix_hub_schema.tenant_schemas, jsonb)
    FROM PUBLIC;

-- Waits for every lock that reading the definitions of a schema takes, except on the tables that are copied: the tables
-- below views, rules and SQL-standard functions, and, from PostgreSQL 17 on, what has a default or a policy. What is
-- too long to be described is not read.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._wait_for_definitions(namespace oid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    left_out CONSTANT jsonb := edu_matrix_hub_schema._undescribed(namespace);
BEGIN
    IF NOT left_out ? 'functions' THEN
        PERFORM pg_get_functiondef(p.oid) FROM pg_proc AS p
        WHERE p.pronamespace = namespace AND p.prosqlbody IS NOT NULL;
    END IF;
    IF left_out ? 'relations' THEN
        RETURN;
    END IF;
    PERFORM pg_get_viewdef(c.oid) FROM pg_class AS c WHERE c.relnamespace = namespace AND c.relkind IN ('v', 'm');
    PERFORM pg_get_ruledef(u.oid)
    FROM pg_class AS c JOIN pg_rewrite AS u ON u.ev_class = c.oid AND u.rulename <> '_RETURN'
    WHERE c.relnamespace = namespace;
    PERFORM pg_get_expr(c.relpartbound, c.oid),
            (SELECT max(pg_get_expr(d.adbin, c.oid)) FROM pg_attrdef AS d WHERE d.adrelid = c.oid),
            (SELECT max(pg_get_expr(p.polqual, c.oid) || pg_get_expr(p.polwithcheck, c.oid))
             FROM pg_policy AS p WHERE p.polrelid = c.oid)
    FROM pg_class AS c WHERE c.relnamespace = namespace AND c.relkind NOT IN ('r', 'i', 'S');
EXCEPTION WHEN program_limit_exceeded THEN
    -- What the server cannot write is found again when it is to be kept, and is left out of the manifest then.
    RETURN;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._wait_for_definitions(oid) FROM PUBLIC;

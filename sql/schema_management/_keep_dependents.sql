-- Keeps what makes each of these again (_dependent_definition), in rows of taken_dependents, and adds to each its kind
-- and name, the number of its row, `kept`, and `note` where its definition is not kept.
--
-- A tenant chooses how many there are, how long they are and how long it takes to write them. So all is counted before
-- anything is read, the small ones first: of a tenant at most 2,000 have a row, and the texts of one call, those of one
-- of them, and the work (_definition_work), have a bound. Without `texts` none are written.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._keep_dependents(grantor_id uuid, backup_id uuid, items jsonb,
                                                                  texts boolean, patient boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    most_rows   CONSTANT integer := 2000;
    -- As the catalogue stores them, which is several times what they are as text.
    most_bytes  CONSTANT integer := 4 * 1024 * 1024;
    total_bytes CONSTANT integer := 32 * 1024 * 1024;
    most_text   CONSTANT integer := 1024 * 1024;
    total_text  CONSTANT integer := 32 * 1024 * 1024;
    total_work  CONSTANT integer := 16 * 1024 * 1024;
    whole       jsonb := '[]'::jsonb;
    item        record;
    facts       record;
    wanted      boolean;
    bytes       bigint := 0::bigint;
    work        bigint := 0::bigint;
    written     bigint := 0::bigint;
    row_id      bigint;
BEGIN
    FOR item IN
        SELECT i.value AS told, k.key, g.id AS grantee, m.kind, m.name, w.bytes,
               CASE WHEN m.kind LIKE '%view' THEN k.objid END AS relation,
               CASE WHEN m.kind NOT LIKE '%view' THEN k.objid END AS function,
               row_number() OVER (PARTITION BY g.id ORDER BY w.bytes, k.key)
                   + (SELECT count(*) FROM edu_matrix_hub_schema.taken_dependents AS d WHERE d.schema_id = g.id) AS n
        FROM jsonb_array_elements(items) AS i (value)
        CROSS JOIN LATERAL (SELECT (i.value ->> 'key')::bigint AS key,
                                   ((i.value ->> 'key')::bigint & 4294967295)::oid AS objid) AS k
        CROSS JOIN LATERAL (SELECT (i.value ->> 'grantee')::uuid AS id) AS g
        CROSS JOIN LATERAL edu_matrix_hub_schema._dependent_name(k.key) AS m
        CROSS JOIN LATERAL (SELECT edu_matrix_hub_schema._dependent_bytes(k.key) AS bytes) AS w
        ORDER BY w.bytes, k.key
    LOOP
        row_id := NULL;
        IF item.n > most_rows THEN
            SELECT format('its definition is not kept: there are more than %s', most_rows) AS note INTO facts;
        ELSE
            bytes := bytes + least(item.bytes, most_bytes);
            wanted := texts AND item.bytes <= most_bytes AND bytes <= total_bytes AND written <= total_text;
            IF wanted THEN
                work := work + least(edu_matrix_hub_schema._dependent_work(item.key), total_work);
                wanted := work <= total_work;
            END IF;
            BEGIN
                SELECT NULL AS note, d.* INTO facts
                FROM edu_matrix_hub_schema._dependent_definition(item.relation, item.function, wanted, patient) AS d;
                IF octet_length(facts.remake::text) + octet_length(facts.acl::text) > most_text THEN
                    RAISE EXCEPTION 'it is too long';
                END IF;
            EXCEPTION
                WHEN serialization_failure OR deadlock_detected THEN RAISE;
                WHEN OTHERS THEN
                    IF patient AND edu_matrix_hub_schema._may_pass(SQLSTATE, SQLERRM) THEN
                        RAISE;
                    END IF;
                    SELECT 'its definition could not be read: ' || left(SQLERRM, 200) AS note, '{}'::text[] AS remake,
                           '[]'::jsonb AS acl, '[]'::jsonb AS homes INTO facts;
            END;
            written := written + octet_length(facts.remake::text);
            INSERT INTO edu_matrix_hub_schema.taken_dependents AS d
                (schema_id, grantor_id, backup_id, kind, name, remake, acl, homes, note)
            VALUES (item.grantee, $1, $2, item.kind, item.name, facts.remake, facts.acl, facts.homes, facts.note)
            RETURNING d.id INTO row_id;
        END IF;
        whole := whole || (item.told || jsonb_build_object('kind', item.kind, 'name', item.name, 'kept', row_id,
                                                           'note', facts.note));
    END LOOP;
    RETURN whole;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._keep_dependents(uuid, uuid, jsonb, boolean, boolean) FROM PUBLIC;

-- The expressions of a view or function and of all its parts, as the catalogue stores them.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._dependent_trees(key bigint) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH object AS (
        SELECT ($1 & 4294967295)::oid AS oid, ($1 >> 32)::oid = 'pg_class'::regclass AS is_relation
    )
    SELECT t.tree
    FROM object AS o JOIN pg_rewrite AS u ON o.is_relation AND u.ev_class = o.oid
    CROSS JOIN LATERAL (VALUES (u.ev_action::text), (u.ev_qual::text)) AS t (tree)
    UNION ALL
    SELECT t.tgqual::text FROM object AS o JOIN pg_trigger AS t ON o.is_relation AND t.tgrelid = o.oid
    UNION ALL
    SELECT f.adbin::text FROM object AS o JOIN pg_attrdef AS f ON o.is_relation AND f.adrelid = o.oid
    UNION ALL
    SELECT t.tree
    FROM object AS o JOIN pg_index AS i ON o.is_relation AND i.indrelid = o.oid
    CROSS JOIN LATERAL (VALUES (i.indexprs::text), (i.indpred::text)) AS t (tree)
    UNION ALL
    SELECT s.stxexprs::text FROM object AS o JOIN pg_statistic_ext AS s ON o.is_relation AND s.stxrelid = o.oid
    UNION ALL
    SELECT t.tree
    FROM object AS o JOIN pg_proc AS p ON NOT o.is_relation AND p.oid = o.oid
    CROSS JOIN LATERAL (VALUES (p.prosqlbody::text), (p.proargdefaults::text)) AS t (tree)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._dependent_trees(bigint) FROM PUBLIC;

-- How long all that is read of one is, as far as it can be told without reading it: lengths are known of what is
-- stored.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._dependent_bytes(key bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH object AS (
        SELECT ($1 >> 32)::oid AS classid, ($1 & 4294967295)::oid AS oid
    )
    SELECT coalesce(sum(b.bytes), 0)::bigint
    FROM (SELECT octet_length(t.tree)::bigint AS bytes FROM edu_matrix_hub_schema._dependent_trees($1) AS t (tree)
          UNION ALL
          SELECT octet_length(d.description) FROM object AS o
          JOIN pg_description AS d ON d.classoid = o.classid AND d.objoid = o.oid
          UNION ALL
          SELECT octet_length(t.tgargs) FROM object AS o
          JOIN pg_trigger AS t ON o.classid = 'pg_class'::regclass AND t.tgrelid = o.oid
          UNION ALL
          -- Names and the words around them.
          SELECT 256 * count(*) FROM object AS o
          JOIN pg_depend AS d ON d.refclassid = o.classid AND d.refobjid = o.oid AND d.deptype IN ('i', 'a')
          UNION ALL
          -- What a right is as JSON.
          SELECT 256 * cardinality(c.relacl) FROM object AS o
          JOIN pg_class AS c ON o.classid = 'pg_class'::regclass AND c.oid = o.oid
          UNION ALL
          SELECT 256 * cardinality(t.attacl) FROM object AS o
          JOIN pg_attribute AS t ON o.classid = 'pg_class'::regclass AND t.attrelid = o.oid
          UNION ALL
          -- The length of a compressed setting is not known; it could be some hundred times as long.
          SELECT 256 * coalesce(cardinality(p.proacl), 0) + coalesce(CASE WHEN pg_column_size(p.proconfig) > 8192
              THEN 1::bigint << 40 ELSE octet_length(p.proconfig::text) END, 0)
          FROM object AS o JOIN pg_proc AS p ON o.classid = 'pg_proc'::regclass AND p.oid = o.oid) AS b
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._dependent_bytes(bigint) FROM PUBLIC;

-- What it costs to write all of one as text.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._dependent_work(key bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT coalesce(sum(edu_matrix_hub_schema._definition_work(t.tree)), 0)::bigint
    FROM edu_matrix_hub_schema._dependent_trees($1) AS t (tree)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._dependent_work(bigint) FROM PUBLIC;

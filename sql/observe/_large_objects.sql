-- The large objects of all tenants, of which PostgreSQL keeps the owners in one table and the contents in another: one
-- statement for each table, whatever the number of tenants. An object belongs to a role, so it is the tenant's whose
-- owner role, login or other role that is. For each tenant that has any: {count, bytes, least, how}.
--
-- Who may read the contents is told how many bytes an object has; by default that is a superuser alone. `how` says what
-- `bytes` is:
--
--   exact    what the contents take, since the owner of this function may read them (GRANT SELECT ON pg_largeobject)
--   sampled  the same by some pages of the tables, which are too large to be read as a whole
--   share    the tenant's share of all large objects, by their number, of what all contents take
--
-- A share says little when other roles have large objects as well: theirs may be the large ones. So a block goes by
-- `least`, which no neighbour can move: the bytes themselves, or of a share only what each object takes in catalogues,
-- unless all large objects of the database are the tenant's.
--
-- Tenants may make any number of objects, so no more than 32 MiB of each table are read. A tenant cannot know which
-- pages these are, since the key is the installation's own.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._large_objects()
RETURNS TABLE (schema_id uuid, large_objects jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    pages_at_most CONSTANT bigint := 4096::bigint;
    -- What an object takes in catalogues with their indexes, and a row of contents beside its bytes.
    per_object    CONSTANT integer := 180;
    per_row       CONSTANT integer := 60;
    -- A row has at most a quarter of a block.
    block         CONSTANT bigint := current_setting('block_size')::bigint;
    key           CONSTANT double precision :=
        (SELECT i.fingerprint_key::double precision FROM edu_matrix_hub_schema.installation AS i);
    object_part   CONSTANT double precision :=
        least(pages_at_most / greatest(pg_relation_size('pg_largeobject_metadata') / block, 1)::double precision, 1);
    content_part  CONSTANT double precision :=
        least(pages_at_most / greatest(pg_relation_size('pg_largeobject') / block, 1)::double precision, 1);
    contents      bigint := pg_relation_size('pg_largeobject');
    rows          double precision;
    owners        oid[];
    bytes         double precision[];
    how           text := 'share';
BEGIN
    IF has_table_privilege('pg_largeobject', 'SELECT') THEN
        how := CASE WHEN least(object_part, content_part) < 1 THEN 'sampled' ELSE 'exact' END;
        SELECT array_agg(s.owner), array_agg(s.bytes) INTO owners, bytes
        FROM (SELECT o.owner, sum(o.bytes) / content_part AS bytes
              FROM (SELECT (SELECT m.lomowner FROM pg_largeobject_metadata AS m WHERE m.oid = l.loid) AS owner,
                           sum(per_row + pg_column_size(l.data)) AS bytes
                    FROM pg_largeobject AS l TABLESAMPLE SYSTEM (content_part * 100) REPEATABLE (key)
                    GROUP BY l.loid) AS o
              GROUP BY o.owner) AS s;
    ELSE
        -- Not what a former tenant left free in the file.
        SELECT greatest(pg_stat_get_live_tuples(c.oid), c.reltuples)::double precision INTO rows
        FROM pg_class AS c WHERE c.oid = 'pg_largeobject'::regclass;
        IF rows > 0 THEN
            contents := least(contents::double precision, rows * (block / 4 + per_row))::bigint;
        END IF;
    END IF;
    RETURN QUERY
    WITH counted AS MATERIALIZED (
        SELECT m.lomowner AS owner, count(*) / object_part AS objects
        FROM pg_largeobject_metadata AS m TABLESAMPLE SYSTEM (object_part * 100) REPEATABLE (key)
        GROUP BY m.lomowner
    ), all_of_them AS MATERIALIZED (
        SELECT sum(c.objects) AS objects FROM counted AS c
    ), found AS (
        SELECT t.id, sum(c.objects) AS objects, sum(b.bytes) AS bytes
        FROM edu_matrix_hub_schema.tenant_schemas AS t
        CROSS JOIN LATERAL (
            SELECT DISTINCT r.oid
            FROM unnest(t.login_oids || ARRAY[t.owner_role_oid, t.reader_role_oid, t.writer_role_oid,
                                              t.deleter_role_oid]) AS r (oid)) AS r
        LEFT JOIN counted AS c ON c.owner = r.oid
        LEFT JOIN unnest(owners, bytes) AS b (owner, bytes) ON b.owner = r.oid
        WHERE t.status <> 'dropped' AND (c.owner IS NOT NULL OR b.owner IS NOT NULL)
        GROUP BY t.id
    ), weighed AS (
        SELECT f.id, coalesce(f.objects, 0) AS objects, f.objects >= a.objects AS alone,
               per_object * coalesce(f.objects, 0) AS catalogued,
               CASE WHEN how = 'share' THEN contents * f.objects / a.objects ELSE coalesce(f.bytes, 0) END AS bytes
        FROM found AS f CROSS JOIN all_of_them AS a
    )
    SELECT w.id, jsonb_build_object(
        'count', w.objects::bigint, 'bytes', (w.catalogued + w.bytes)::bigint, 'how', how,
        'least', (w.catalogued + CASE WHEN how <> 'share' OR w.alone THEN w.bytes ELSE 0 END)::bigint)
    FROM weighed AS w;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._large_objects() FROM PUBLIC;

-- Changes whenever what _large_objects() finds may have changed, and every ten minutes; null when there are no large
-- objects at all. The counters of a session arrive with a delay of seconds.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._large_objects_mark() RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT string_agg(concat_ws(' ', pg_relation_size(c.oid), pg_stat_get_tuples_inserted(c.oid),
                                pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_deleted(c.oid)), ', ')
           || format(', %s, %s', has_table_privilege('pg_largeobject', 'SELECT'),
                     floor(extract(epoch FROM clock_timestamp()) / 600))
    FROM (VALUES ('pg_largeobject_metadata'::regclass), ('pg_largeobject'::regclass)) AS c (oid)
    WHERE pg_relation_size('pg_largeobject_metadata') > 0
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._large_objects_mark() FROM PUBLIC;

-- How fast a tenant grows, from what is known of it, what it uses now, and after how many days: one sample a day, of
-- which half counts after three days, a quarter after six, and so on. {bytes, per_day}; the first sample has no
-- `per_day`.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._growth(known jsonb, bytes bigint, days double precision) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT jsonb_build_object('bytes', bytes) || CASE
               WHEN known IS NULL THEN '{}'
               ELSE jsonb_build_object('per_day', round(
                   k.now + (coalesce((known ->> 'per_day')::double precision, k.now) - k.now)
                           * power(0.5, least(days / 3, 100)))::bigint)
           END
    FROM (SELECT (bytes - (known ->> 'bytes')::bigint) / greatest(days, 1) AS now) AS k
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._growth(jsonb, bigint, double precision) FROM PUBLIC;

-- For each living tenant whose schema stands: how many tables it has, about how large it is, and a signature that changes
-- whenever its exact size may have changed. The signature is taken over the list of relations with their files and pages
-- (so that TRUNCATE, index builds and VACUUM change it) and over the write counters of its tables (so that rows do, and a
-- reset of the statistics, which costs one needless measurement). TOAST tables and indexes grow only when their tables are
-- written; the counters of a session arrive with a delay of seconds, but after the file has grown, so that a later
-- survey measures again.
CREATE OR REPLACE VIEW edu_matrix_hub_schema.schema_activity AS
SELECT t.id AS schema_id,
       pg_catalog.count(*) FILTER (WHERE c.relkind IN ('r', 'p'))::integer AS table_count,
       coalesce(pg_catalog.sum(greatest(c.relpages, 0)::bigint), 0)::bigint * pg_catalog.current_setting('block_size')::integer AS estimated_bytes,
       coalesce(pg_catalog.sum(
           pg_catalog.hashint8extended(c.oid::bigint * 4294967296 + c.relfilenode::bigint, c.relpages + 4294967296 * c.relallvisible)::numeric
           + CASE WHEN c.relkind IN ('r', 'm') THEN
               pg_catalog.hashint8extended(pg_catalog.pg_stat_get_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_tuples_updated(c.oid)
                                           + pg_catalog.pg_stat_get_tuples_deleted(c.oid), c.oid::bigint) ELSE 0 END), 0) AS signature,
       pg_catalog.array_agg(c.oid) FILTER (WHERE c.relkind IN ('r', 'm', 'S')) AS relations
FROM edu_matrix_hub_schema.tenant_schemas AS t
JOIN pg_catalog.pg_namespace AS n ON n.nspname = t.schema_name
LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
WHERE t.status <> 'dropped'
GROUP BY t.id;

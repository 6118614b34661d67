-- For each living tenant: where its schema is, how many tables it has, how many relations have to be opened to
-- know its size, and a signature that changes whenever that may have changed. A schema that is missing has
-- nothing, and the signature 0.
--
-- The signature is taken over the list of relations with their files and pages (so that TRUNCATE, index builds and
-- VACUUM change it) and over the write counters of its tables (so that rows do, and a reset of the statistics, which
-- costs one measurement too many). TOAST tables and indexes grow only when their tables are written; the counters of a
-- session arrive with a delay of seconds, but after the file has grown, so that a later survey measures again. What
-- belongs to another role than the tenant's owner counts with its owner, which the survey tells; names are left out,
-- since to sort them takes time.
--
-- It is made again each time, since a view that stands cannot lose a column.
DROP VIEW IF EXISTS edu_matrix_hub_schema.schema_activity;
CREATE VIEW edu_matrix_hub_schema.schema_activity AS
SELECT t.id AS schema_id, n.oid AS namespace,
       pg_catalog.count(*) FILTER (WHERE c.relkind IN ('r', 'p'))::integer AS table_count,
       pg_catalog.count(*) FILTER (WHERE c.relkind IN ('r', 'm'))::integer AS relation_count,
       coalesce(pg_catalog.sum(
           pg_catalog.hashint8extended(
               (c.oid::bigint << 32) + c.relfilenode::bigint,
               c.relpages + 4294967296 * c.relallvisible
               + CASE WHEN c.relowner <> t.owner_role_oid THEN c.relowner::bigint << 20 ELSE 0 END)::numeric
           + CASE WHEN c.relkind IN ('r', 'm') THEN
               pg_catalog.hashint8extended(
                   pg_catalog.pg_stat_get_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_tuples_updated(c.oid)
                   + pg_catalog.pg_stat_get_tuples_deleted(c.oid), c.oid::bigint) ELSE 0 END), 0) AS signature
FROM edu_matrix_hub_schema.tenant_schemas AS t
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
WHERE t.status <> 'dropped'
GROUP BY t.id, n.oid;

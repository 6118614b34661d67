-- The tables of a schema ($1) that hold rows of their own, the same that a snapshot copies (see _snapshot_tables):
-- with each the statement that locks it, and the one that counts its rows and hashes them, and its columns. To read
-- the list takes the transaction's instant: it is read in a transaction of its own, and in the next again when the
-- tables are locked.
--
-- The hash is a sum over the rows, so their order does not matter, and over a row as its types' output functions write
-- it: a tenant may define casts, and format() uses none. Every name is given in full, and operators are those of
-- pg_catalog, which the transaction has as its search_path (see archive_session.sql).
SELECT c.oid::pg_catalog.int8 AS oid, c.relname::pg_catalog.text AS name,
       pg_catalog.format('LOCK TABLE ONLY %I.%I IN ACCESS SHARE MODE', n.nspname, c.relname) AS lock,
       pg_catalog.format(
           'SELECT pg_catalog.count(*) AS rows, coalesce(pg_catalog.sum(pg_catalog.hashtextextended('
           'pg_catalog.format(''%%s'', copy.*), 0)), 0)::pg_catalog.text AS hash FROM ONLY %I.%I AS copy',
           n.nspname, c.relname) AS content,
       n.nspname::pg_catalog.text AS schema,
       ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute AS a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relnamespace = $1::pg_catalog.int8::pg_catalog.oid AND c.relkind = 'r'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
        AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
        AND (e.extconfig IS NULL OR NOT c.oid = ANY (e.extconfig)))
ORDER BY c.oid

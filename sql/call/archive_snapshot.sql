-- Gives the snapshot of this transaction a name by which a program can look at the same. It is the first statement that
-- takes one.
SELECT pg_catalog.pg_export_snapshot()

-- Whether the comments of the database are few enough, $1 bytes at most, for a program that reads them all. It is also
-- how a transaction shows that it still holds what it locked: one that has ended cannot answer.
SELECT coalesce(pg_catalog.sum(pg_catalog.octet_length(d.description)), 0) <= $1::pg_catalog.int8 AS few
FROM pg_catalog.pg_description AS d

-- Whether the comments of the database are few enough, $1 bytes at most, for a program that reads them all.
SELECT coalesce(pg_catalog.sum(pg_catalog.octet_length(d.description)), 0) <= $1::pg_catalog.int8 AS few
FROM pg_catalog.pg_description AS d

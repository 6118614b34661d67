-- How a transaction shows that it still holds what it locked: one that has ended cannot answer.
SELECT pg_catalog.pg_backend_pid()

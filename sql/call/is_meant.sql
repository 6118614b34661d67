-- Whether a new session of a tenant's run login is what was meant: the owner role, and in the database of its schema. A
-- pooler may give the session of another client, or another database. Everything is named in full, for this runs among
-- what a tenant made.
SELECT CURRENT_USER OPERATOR(pg_catalog.=) $1::pg_catalog.text
       AND EXISTS (SELECT FROM pg_catalog.pg_namespace AS n
                   WHERE n.oid OPERATOR(pg_catalog.=) $2::pg_catalog.int8::pg_catalog.oid)

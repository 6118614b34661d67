-- Whether a session is of this role ($1) in this database ($2); a pooler may give another one. Everything is named in
-- full, for this runs among what a tenant made.
SELECT CURRENT_USER OPERATOR(pg_catalog.=) $1::pg_catalog.text
       AND pg_catalog.current_database() OPERATOR(pg_catalog.=) $2::pg_catalog.text::pg_catalog.name

-- What a session of a tenant's login runs for us, with that login's rights: its defaults, which our functions may not
-- set (see issue_credential). The login's former defaults are in force here, and are a tenant's: it may begin as
-- another role, or read only.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL ROLE NONE;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL statement_timeout = :milliseconds;
:statements;
COMMIT

-- Begins the transaction in which an archive's tables are read, as the owner role of a tenant: of one instant, and
-- read only. None of these statements takes the instant, so what is locked next cannot change before it. The settings
-- are those on which the text of a value depends (see _snapshot_content); the same content has the same hash in any
-- session. Row security would leave rows out; with it off, a table that it applies to is an error.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL row_security = off;
-- It waits for the program that dumps, and holds the tables until that is done.
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL IntervalStyle = 'postgres';
SET LOCAL extra_float_digits = 1;
SET LOCAL bytea_output = 'hex';
SET LOCAL lc_monetary = 'C';
SET LOCAL xmlbinary = 'base64';
SET LOCAL quote_all_identifiers = off

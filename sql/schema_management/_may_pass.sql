-- Whether an error may pass by itself, so that it is never an end: what met it is tried again, and what a person reads
-- says that it waits. The one list of SQLSTATEs; `may_pass` in src/contract/call.rs is the same, which a test proves.
-- What catches OTHERS or compares a SQLSTATE asks here.
--
--   08     a connection broke: ours, a pooler's (08P01), or one that a function opened
--   25006  the server is a standby, or read only for a while
--   25P03, 25P04  a limit on idle or long transactions ended the session
--   40     a conflict of two transactions, a deadlock, or a commit whose end is not known
--   53     memory, locks, connections, room on the disk or for temporary files: a person frees them, or raises a limit
--   55006  something is in use;  55P03  a lock is held by another session
--   57000, 57014, 57P01, 57P02, 57P03, 57P05  a timeout, an administrator, a crash, a start. Not 57P04: that database
--          is gone
--   58000, 58030  the system or its storage failed a call. Not 58P01 and 58P02: a person must bring a missing file back
--   XX000  only where the message is that of a race with another session's DDL: the server has no code for it, and does
--          not translate these messages. Corruption (XX001, XX002) does not pass.
--
-- A tenant's code can raise any of these. What it says is believed for a bounded time only; see _enter_sandbox.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._may_pass(state text, message text DEFAULT NULL) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT coalesce(pg_catalog.left($1, 2) IN ('08', '40', '53')
                    OR $1 IN ('25006', '25P03', '25P04', '55006', '55P03', '57000', '57014', '57P01', '57P02', '57P03',
                              '57P05', '58000', '58030')
                    OR $1 = 'XX000' AND $2 ~ '^(tuple concurrently |tuple already updated |cache lookup failed for '
                                             '|could not open relation with OID |could not find tuple for )',
                    false)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._may_pass(text, text) FROM PUBLIC;

-- Opens the transaction of a call, in one round trip with it. A connection that is thrown away ends its backend within
-- seconds, also where a tenant's code catches the cancellation that was sent before.
BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = :milliseconds; SET LOCAL client_connection_check_interval = 5000

-- Opens the transaction of a call, in one round trip with it. Names and operators are looked up in pg_catalog alone: a
-- user who may change the search_path of database or login could otherwise put a function of their own behind an
-- operator, and it would run as the operator's login. A connection that is thrown away ends its backend within seconds,
-- also where a tenant's code catches the cancellation that was sent before. The last setting is what the operator heard
-- of the world last (see _hold_lane).
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL statement_timeout = :milliseconds;
SET LOCAL client_connection_check_interval = 5000;
SET LOCAL edu_matrix.world = ':world'

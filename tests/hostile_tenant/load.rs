//! Locks, connections, disk and noise: what PostgreSQL does not divide among logins. Each is bounded, and the operator goes on.

use crate::world::{
    Attempt,
    Expected::{Nothing, Nuisance},
    login, owner,
};

pub const ATTEMPTS: &[Attempt] = &[
    login(
        "floods with notifications",
        "SELECT count(pg_notify('x', repeat('y', 4000) || n)) FROM generate_series(1, 2000) AS n",
        Nuisance(
            "kept only while a listening session is in a transaction; 8 GB at most, a twentieth of a percent here",
        ),
    ),
    login(
        "listens to others' notifications",
        "LISTEN x; LISTEN \"edu_matrix_hub_schema\"",
        Nuisance("channels are the database's; the operator sends nothing over them"),
    ),
    login(
        "writes temporary tables",
        "CREATE TEMP TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)",
        Nuisance("no survey counts them; REVOKE TEMPORARY ON DATABASE ends them"),
    ),
    login(
        "writes large objects",
        "SELECT lo_unlink(lo_from_bytea(0, convert_to(repeat('x', 100000), 'UTF8')))",
        Nuisance("not counted; REVOKE EXECUTE of the lo_ functions from PUBLIC ends them"),
    ),
    login(
        "takes long with one statement",
        "SELECT pg_sleep(0.1)",
        Nuisance("statementTimeoutSeconds is a default; the connection limit is a limit"),
    ),
    login(
        "takes memory",
        "SET work_mem = '64MB'; SELECT count(*) FROM (SELECT n FROM generate_series(1, 200000) AS n ORDER BY n DESC) AS s",
        Nuisance("work_mem may be set by anybody; limit the server's memory for each connection by max_connections"),
    ),
    login(
        "waits idle in a transaction",
        "BEGIN; SELECT * FROM school.pupils",
        Nuisance("it holds back VACUUM; idle_in_transaction_session_timeout ends it, unless the login set another"),
    ),
    login(
        "prepares a transaction and goes",
        "BEGIN; SELECT id FROM school.pupils; PREPARE TRANSACTION 'kept by {login}'",
        Nuisance("max_prepared_transactions = 0, the default, refuses it; a suspension names what is held"),
    ),
    login("undoes what it prepared", "ROLLBACK PREPARED 'kept by {login}'", Nothing),
    login("fills a page of locks on its own table", "BEGIN; SELECT * FROM school.pupils FOR UPDATE; COMMIT", Nothing),
    owner(
        "locks its own table against the survey",
        "BEGIN; LOCK TABLE school.pupils; COMMIT",
        Nuisance("the survey waits for 50 ms and estimates"),
    ),
    owner(
        "has five hundred tables",
        "DO $$ BEGIN FOR i IN 1..500 LOOP EXECUTE 'CREATE TABLE school.t' || i || ' ()'; END LOOP; END $$",
        Nuisance("of thousands only so many are opened by one survey"),
    ),
    owner(
        "writes code that runs when somebody measures",
        "CREATE FUNCTION school.code(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \
            $$ BEGIN IF CURRENT_USER NOT LIKE 'school%' THEN RAISE 'ran as %', CURRENT_USER; END IF; RETURN $1; END $$; \
         CREATE INDEX ON school.pupils (school.code(id)); CREATE STATISTICS school.s ON (school.code(id)), name FROM school.pupils",
        Nuisance("surveys read no table of a tenant, so nothing of it runs"),
    ),
    // But for roles that another test is just dropping.
    owner(
        "gives default rights to every role of the server",
        "DO $$ BEGIN EXECUTE (SELECT 'ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO ' || string_agg(quote_ident(rolname), ', ') \
         FROM (SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_|_v[0-9a-f]{32}$' ORDER BY oid DESC LIMIT 20) AS r); END $$",
        Nuisance("one statement of a repair takes them back"),
    ),
];

//! Its own limits and settings: how many connections, how long, what a session may.

use crate::world::{
    Attempt,
    Expected::{Nothing, Nuisance, Refused},
    REFUSED, login, owner,
};

const DEFAULTS: &str = "a help and no limit; the next repair puts them back";

pub const ATTEMPTS: &[Attempt] = &[
    login("has no limit of connections", "ALTER ROLE {login} CONNECTION LIMIT -1", REFUSED),
    login("lives for ever", "ALTER ROLE {login} VALID UNTIL 'infinity'", REFUSED),
    login("opens its former login", "ALTER ROLE {login} LOGIN", REFUSED),
    login(
        "changes its own password",
        "ALTER ROLE {login} PASSWORD 'given in its Secret'",
        Nuisance("its own applications are shut out until the next rotation, and nobody else"),
    ),
    login(
        "sets its defaults",
        "ALTER ROLE {login} SET search_path = pg_temp; ALTER ROLE {login} SET statement_timeout = 0",
        Nuisance(DEFAULTS),
    ),
    login(
        "sets its defaults in this database",
        "ALTER ROLE {login} IN DATABASE {database} SET work_mem = '1GB'",
        Nuisance(DEFAULTS),
    ),
    login("sets defaults that nobody knows", "ALTER ROLE {login} SET x.y = 'z'", REFUSED),
    login(
        "has no timeouts in its session",
        "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = 0",
        Nothing,
    ),
    login("runs no triggers", "SET session_replication_role = replica", REFUSED),
    login("has unlimited temporary files", "SET temp_file_limit = -1", REFUSED),
    login("hides from the log", "SET log_statement = 'none'", REFUSED),
    login("loads a library", "LOAD 'auto_explain'", Refused(&["42501", "58P01"])),
    login(
        "loads a library in each session",
        "ALTER ROLE {login} SET session_preload_libraries = 'auto_explain'",
        REFUSED,
    ),
    login(
        "loads one of its own in each session",
        "ALTER ROLE {login} SET local_preload_libraries = 'x'; ALTER ROLE {login} RESET local_preload_libraries",
        Nuisance(
            "the server loads what an administrator put into its plugins folder and nothing else; the login is shut out",
        ),
    ),
    login("changes the server's settings", "ALTER SYSTEM SET max_connections = 1", Refused(&["42501", "25001"])),
    login("changes the database's settings", "ALTER DATABASE {database} SET search_path = school", REFUSED),
    login("lets nobody into the database", "ALTER DATABASE {database} CONNECTION LIMIT 0", REFUSED),
    login("lets the server read its configuration again", "SELECT pg_reload_conf()", REFUSED),
    login("sets how many may connect", "SET max_connections = 1000", Refused(&["55P02"])),
    login("makes a table in its schema", "CREATE TABLE school.mine (id int)", REFUSED),
    login(
        "makes a function in its schema",
        "CREATE FUNCTION school.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        REFUSED,
    ),
    login("changes a table of its schema", "ALTER TABLE school.pupils ADD COLUMN x int", REFUSED),
    login("empties a table of its schema", "TRUNCATE school.pupils", REFUSED),
    login("gives its rights on", "GRANT SELECT ON school.pupils TO {their_reader}", Nothing),
    login("gives its schema on", "GRANT USAGE ON SCHEMA school TO {their_reader}", Nothing),
    owner(
        "lets its own login past the quota's roles",
        "ALTER TABLE school.pupils ENABLE ROW LEVEL SECURITY; ALTER TABLE school.pupils DISABLE ROW LEVEL SECURITY",
        Nothing,
    ),
    owner("makes its roles log in", "ALTER ROLE {owner} LOGIN", REFUSED),
    owner("renames its schema out of sight", "ALTER SCHEMA school RENAME TO hidden", REFUSED),
];

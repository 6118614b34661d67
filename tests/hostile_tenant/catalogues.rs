//! What PostgreSQL shows everybody, which docs/security.md lists, and what it keeps to those that it concerns.

use crate::world::{
    Attempt,
    Expected::{Nothing, Nuisance},
    REFUSED, login,
};

const SHOWN: &str = "PostgreSQL shows it to every login; names and definitions are no place for secrets";

pub const ATTEMPTS: &[Attempt] = &[
    login(
        "lists all schemas",
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'college') THEN RAISE 'no'; END IF; END $$",
        Nuisance(SHOWN),
    ),
    login(
        "lists all roles and what they are members of",
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_auth_members AS m WHERE m.member::regrole::text = '{their_login}') THEN RAISE 'no'; END IF; END $$",
        Nuisance(SHOWN),
    ),
    login(
        "lists a neighbour's tables and columns",
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = {their_table} AND attname = 'name') THEN RAISE 'no'; END IF; END $$",
        Nuisance(SHOWN),
    ),
    login(
        "reads the text of a neighbour's function",
        "DO $$ BEGIN IF (SELECT prosrc FROM pg_proc WHERE oid = {their_function}) !~ 'secret body' THEN RAISE 'no'; END IF; END $$",
        Nuisance(SHOWN),
    ),
    login(
        "reads a neighbour's comments",
        "DO $$ BEGIN IF obj_description({their_table}, 'pg_class') <> 'of the tenant' THEN RAISE 'no'; END IF; END $$",
        Nuisance(SHOWN),
    ),
    login(
        "reads a neighbour's constraints",
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = {their_table}",
        Nuisance(SHOWN),
    ),
    login("reads the defaults of a neighbour's login", "SELECT * FROM pg_db_role_setting", Nuisance(SHOWN)),
    login(
        "counts a neighbour's writes",
        "SELECT n_tup_ins FROM pg_stat_all_tables WHERE relid = {their_table}",
        Nuisance(SHOWN),
    ),
    login("sees who is connected", "SELECT usename, datname, application_name FROM pg_stat_activity", Nuisance(SHOWN)),
    login("sees what is locked", "SELECT * FROM pg_locks", Nuisance(SHOWN)),
    login(
        "asks what a neighbour may",
        "SELECT has_table_privilege('{their_login}', {their_table}, 'SELECT')",
        Nuisance(SHOWN),
    ),
    login(
        "finds no neighbour in the information schema",
        "DO $$ BEGIN IF EXISTS (SELECT FROM information_schema.tables WHERE table_schema = 'college') THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "reads what others are doing",
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_stat_activity WHERE usename <> CURRENT_USER AND query NOT IN ('', '<insufficient privilege>') \
         AND backend_type = 'client backend') THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "reads where others connect from",
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_stat_activity WHERE usename <> CURRENT_USER AND client_port IS NOT NULL) \
         THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login("reads passwords", "SELECT * FROM pg_authid", REFUSED),
    login("reads passwords by the older name", "SELECT * FROM pg_shadow", REFUSED),
    login("reads values in statistics", "SELECT * FROM pg_statistic", REFUSED),
    login("reads large objects of all", "SELECT * FROM pg_largeobject", REFUSED),
    login("reads the server's configuration files", "SELECT * FROM pg_file_settings", REFUSED),
    login("reads who may connect from where", "SELECT * FROM pg_hba_file_rules", REFUSED),
    login(
        "reads where data is stored",
        "DO $$ BEGIN IF current_setting('data_directory') <> '' THEN RAISE 'read'; END IF; END $$",
        REFUSED,
    ),
    login("reads passwords of subscriptions", "SELECT subconninfo FROM pg_subscription", REFUSED),
    login("writes a catalogue", "UPDATE pg_class SET relname = 'x' WHERE oid = {their_table}", REFUSED),
    login("takes a row of a catalogue", "DELETE FROM pg_auth_members", REFUSED),
    login("locks a catalogue", "BEGIN; LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE; COMMIT", REFUSED),
];

//! The server around the database: files, programs, extensions, other servers, replication, tablespaces.

use crate::world::{
    Attempt,
    Expected::{Nothing, Refused},
    REFUSED, login, owner,
};

pub const ATTEMPTS: &[Attempt] = &[
    login("runs a program", "COPY (SELECT 1) TO PROGRAM 'true'", REFUSED),
    login("reads a program", "CREATE TEMP TABLE x (t text); COPY x FROM PROGRAM 'id'", REFUSED),
    login("writes a file", "COPY (SELECT 1) TO '/tmp/x'", REFUSED),
    login("reads a file", "CREATE TEMP TABLE x (t text); COPY x FROM '/etc/passwd'", REFUSED),
    login("reads a file by a function", "SELECT pg_read_file('/etc/passwd')", REFUSED),
    login("lists a folder", "SELECT pg_ls_dir('.')", REFUSED),
    login("lists the server's logs", "SELECT pg_ls_logdir()", REFUSED),
    login("asks about a file", "SELECT pg_stat_file('/etc/passwd')", REFUSED),
    login("reads a file into a large object", "SELECT lo_import('/etc/passwd')", REFUSED),
    login("writes a large object to a file", "SELECT lo_export(1, '/tmp/x')", REFUSED),
    login("makes a tablespace", "CREATE TABLESPACE stolen LOCATION '/tmp'", REFUSED),
    login("makes a database", "CREATE DATABASE stolen", REFUSED),
    login("copies the database", "CREATE DATABASE stolen TEMPLATE {database}", REFUSED),
    login("drops the database", "DROP DATABASE {database}", Refused(&["42501", "55006"])),
    login("adds an extension", "CREATE EXTENSION hstore", Refused(&["42501", "58P01", "0A000"])),
    login("adds a language", "CREATE LANGUAGE stolen HANDLER plpgsql_call_handler", REFUSED),
    login(
        "writes a function in C",
        "CREATE FUNCTION pg_temp.c() RETURNS int LANGUAGE c AS 'libc.so.6', 'system'",
        REFUSED,
    ),
    login(
        "writes a function of the server's own",
        "CREATE FUNCTION pg_temp.i(oid) RETURNS oid LANGUAGE internal AS 'oideq'",
        REFUSED,
    ),
    login("reaches another server", "CREATE FOREIGN DATA WRAPPER stolen", REFUSED),
    login(
        "names another server",
        "CREATE SERVER stolen FOREIGN DATA WRAPPER postgres_fdw",
        Refused(&["42501", "42704"]),
    ),
    login(
        "writes code for all sessions",
        "CREATE EVENT TRIGGER stolen ON ddl_command_start EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        Refused(&["42501", "42P17"]),
    ),
    login("publishes tables", "CREATE PUBLICATION stolen FOR ALL TABLES", REFUSED),
    login(
        "subscribes to another server",
        "CREATE SUBSCRIPTION stolen CONNECTION 'host=127.0.0.1' PUBLICATION p WITH (connect = false)",
        REFUSED,
    ),
    login(
        "reads the write-ahead log",
        "SELECT pg_create_logical_replication_slot('stolen', 'test_decoding')",
        Refused(&["42501", "55000"]),
    ),
    login("holds the write-ahead log back", "SELECT pg_create_physical_replication_slot('stolen')", REFUSED),
    login("writes the server's state to disk", "CHECKPOINT", REFUSED),
    login("begins another segment of the log", "SELECT pg_switch_wal()", REFUSED),
    login("begins a backup of the server", "SELECT pg_backup_start('x')", REFUSED),
    login("promotes the server", "SELECT pg_promote()", REFUSED),
    login("forgets the server's statistics", "SELECT pg_stat_reset()", REFUSED),
    login("plans as for another statement", "SET jit_provider = 'x'", Refused(&["55P02", "42501"])),
    login(
        "labels its neighbour's table",
        "SECURITY LABEL ON TABLE college.pupils IS 'x'",
        Refused(&["22023", "42501"]),
    ),
    login(
        "runs a block of code as itself",
        "DO $$ BEGIN IF CURRENT_USER <> SESSION_USER OR pg_has_role('{their_reader}', 'MEMBER') THEN RAISE 'no'; END IF; END $$",
        Nothing,
    ),
    owner("makes an access method", "CREATE ACCESS METHOD stolen TYPE TABLE HANDLER heap_tableam_handler", REFUSED),
    owner("makes an operator class", "CREATE OPERATOR CLASS school.c FOR TYPE int USING btree AS STORAGE int", REFUSED),
    owner(
        "makes a conversion that crashes",
        "CREATE CONVERSION school.c FOR 'UTF8' TO 'LATIN1' FROM int4in",
        Refused(&["42501", "42883"]),
    ),
    owner(
        "makes a base type",
        "CREATE TYPE school.b (input = int4in, output = int4out)",
        Refused(&["42501", "42704", "42883"]),
    ),
    owner("publishes its own tables", "CREATE PUBLICATION stolen FOR TABLE school.pupils", REFUSED),
    owner("publishes a neighbour's schema", "CREATE PUBLICATION stolen FOR TABLES IN SCHEMA college", REFUSED),
    owner(
        "moves its table to a tablespace",
        "ALTER TABLE school.pupils SET TABLESPACE pg_global",
        Refused(&["42501", "22023"]),
    ),
];

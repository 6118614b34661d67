//! What a neighbour's grants offer: to get more than was given, to give it on, or to keep it.

use crate::world::{
    Attempt,
    Expected::{Nothing, Nuisance},
    REFUSED, login, migration, owner,
};

pub const ATTEMPTS: &[Attempt] = &[
    login("becomes the reader of who gave it something", "SET ROLE {giver_reader}", REFUSED),
    login("becomes the writer of who gave it something", "SET ROLE {giver_writer}", REFUSED),
    owner("becomes the owner of who gave it something", "SET ROLE {giver_owner}", REFUSED),
    migration("becomes, as a migration, the owner of who gave it something", "SET ROLE {giver_owner}", REFUSED),
    login("reads what it was given and has no more", "SELECT * FROM library.lent", REFUSED),
    login("gives itself back what was revoked", "GRANT SELECT ON library.lent TO {reader}", REFUSED),
    owner("gives itself back what was revoked, as its owner", "GRANT SELECT ON library.lent TO {owner}", REFUSED),
    // PostgreSQL warns, and gives nothing.
    login("gives itself more than it was given", "GRANT INSERT, UPDATE ON library.books TO {login}", Nothing),
    login("gives a neighbour what it was given", "GRANT SELECT ON library.books TO {their_reader}", Nothing),
    owner("gives everybody what it was given", "GRANT SELECT ON library.books, library.notes TO PUBLIC", Nothing),
    owner(
        "may give on what it was given",
        "GRANT SELECT ON library.books TO {owner} WITH GRANT OPTION; GRANT SELECT ON library.books TO {their_reader}",
        Nothing,
    ),
    login("lets a neighbour into the giver's schema", "GRANT USAGE ON SCHEMA library TO {their_reader}", Nothing),
    owner(
        "gets what the giver will make",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {giver_owner} GRANT SELECT ON TABLES TO {reader}",
        REFUSED,
    ),
    login("takes away what the giver has", "REVOKE ALL ON library.books FROM {giver_owner} CASCADE", Nothing),
    login("reads a table beside the one it was given", "SELECT * FROM library.loans", REFUSED),
    login("writes a table that it may read", "INSERT INTO library.books VALUES (9, 'x')", REFUSED),
    login("changes a table that it may read", "UPDATE library.books SET title = 'x'", REFUSED),
    login("locks rows that it may read", "SELECT * FROM library.books FOR UPDATE", REFUSED),
    login("locks a table that it may read", "BEGIN; LOCK TABLE library.books IN SHARE MODE; COMMIT", REFUSED),
    login("empties a table that it may write", "TRUNCATE library.notes", REFUSED),
    login("sets the numbers of a table that it may write", "SELECT setval('library.notes_id_seq', 1, false)", REFUSED),
    login("calls a function of the giver's", "SELECT library.greet()", REFUSED),
    login("makes a table in the giver's schema", "CREATE TABLE library.mine (id int)", REFUSED),
    owner("refers to a table that it may read", "CREATE TABLE school.r (id int REFERENCES library.books)", REFUSED),
    owner("inherits from a table that it may write", "CREATE TABLE school.n () INHERITS (library.notes)", REFUSED),
    owner(
        "puts a trigger on a table that it may write",
        "CREATE TRIGGER t BEFORE INSERT ON library.notes EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        REFUSED,
    ),
    owner(
        "puts a rule on a table that it may write",
        "CREATE RULE r AS ON INSERT TO library.notes DO NOTHING",
        REFUSED,
    ),
    owner("changes the columns of a table that it may write", "ALTER TABLE library.notes ADD COLUMN x int", REFUSED),
    owner(
        "shows a neighbour what it was given",
        "CREATE VIEW school.shown AS SELECT * FROM library.books; GRANT SELECT ON school.shown TO {their_reader}",
        Nuisance("the neighbour has no way into the schema, and the next survey takes one that it is given"),
    ),
    owner(
        "keeps what it was given",
        "CREATE TABLE school.kept AS SELECT * FROM library.books",
        Nuisance("what was read cannot be taken back; give to whom you trust with it"),
    ),
    login(
        "holds a table that it may read in a transaction",
        "BEGIN; SELECT * FROM library.books; SELECT pg_sleep(0.05); COMMIT",
        Nuisance("a migration of the giver waits for it; a session that is idle is ended by a survey"),
    ),
    login(
        "fills a table that it may write",
        "INSERT INTO library.notes (note) SELECT repeat('x', 100) FROM generate_series(1, 100)",
        Nuisance("it counts in the giver's quota; a grant that names Write gives this"),
    ),
];

//! Policies, on its own table and on a neighbour's that it was given: to see the rows of another user, or to be rid of them.

use crate::world::{
    Attempt,
    Expected::{Nothing, Nuisance, Refused},
    REFUSED, login, migration, owner,
};

pub const ATTEMPTS: &[Attempt] = &[
    login(
        "reads without a setting",
        "DO $$ BEGIN IF EXISTS (SELECT FROM school.profiles) THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "reads rows of a giver's without a setting",
        "DO $$ BEGIN IF EXISTS (SELECT FROM library.shelf) THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "reads by a setting that is no value",
        "SET app.user_id = '8 OR true'; DO $$ BEGIN IF EXISTS (SELECT FROM school.profiles) THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login("turns policies off for its session", "SET row_security = off; SELECT * FROM school.profiles", REFUSED),
    login("turns row-level security off", "ALTER TABLE school.profiles DISABLE ROW LEVEL SECURITY", REFUSED),
    login("drops the policies of a giver", "ALTER TABLE library.shelf DISABLE ROW LEVEL SECURITY", REFUSED),
    owner(
        "drops, as its owner, the policies of a giver",
        "ALTER TABLE library.shelf DISABLE ROW LEVEL SECURITY",
        REFUSED,
    ),
    migration(
        "turns, as a migration, policies of a giver off",
        "ALTER TABLE library.shelf DISABLE ROW LEVEL SECURITY",
        REFUSED,
    ),
    login("makes a policy of its own", "CREATE POLICY mine ON school.profiles USING (true)", REFUSED),
    owner("makes a policy on a giver's table", "CREATE POLICY mine ON library.shelf USING (true)", REFUSED),
    login(
        "leaves its role",
        "SET ROLE NONE; RESET ROLE; DO $$ BEGIN IF EXISTS (SELECT FROM school.profiles) THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "reads by a statement that was prepared before",
        "SET app.user_id = '7'; PREPARE p AS SELECT count(*) FROM school.profiles WHERE user_id = 8; RESET app.user_id; \
         CREATE TEMP TABLE seen (n bigint); INSERT INTO seen SELECT 0; EXECUTE p; \
         DO $$ DECLARE n bigint; BEGIN EXECUTE 'EXECUTE p' INTO n; IF n > 0 THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "reads by a view of its own",
        "CREATE TEMP VIEW v AS SELECT * FROM school.profiles; DO $$ BEGIN IF EXISTS (SELECT FROM v) THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "reads by a function of its own",
        "CREATE FUNCTION pg_temp.f() RETURNS bigint SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM school.profiles'; \
         DO $$ BEGIN IF pg_temp.f() > 0 THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "has a cheap function told what it does not see",
        "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS $$ BEGIN RAISE 'told %', $1; END $$; \
         SELECT * FROM school.profiles WHERE pg_temp.leak(name); SELECT * FROM library.shelf WHERE pg_temp.leak(title)",
        Nothing,
    ),
    login(
        "has an operator of its own told what it does not see",
        "CREATE FUNCTION pg_temp.leak(text, text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS $$ BEGIN RAISE 'told %', $1; END $$; \
         CREATE OPERATOR pg_temp.<<< (FUNCTION = pg_temp.leak, LEFTARG = text, RIGHTARG = text); \
         SELECT * FROM school.profiles WHERE name OPERATOR(pg_temp.<<<) 'x'",
        Nothing,
    ),
    login(
        "says that its function leaks nothing",
        "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LEAKPROOF LANGUAGE sql AS 'SELECT true'",
        REFUSED,
    ),
    login(
        "reads in the text of an error",
        "SELECT name::int FROM school.profiles; SELECT 1 / (user_id - 8) FROM school.profiles",
        Nothing,
    ),
    login("copies rows in past a policy", "COPY school.profiles FROM STDIN", Refused(&["0A000", "42501"])),
    login(
        "reads what a query as a text returns",
        "DO $$ BEGIN IF query_to_xml('SELECT * FROM school.profiles', true, true, '')::text ~ 'bob' THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "reads in the statistics",
        "ANALYZE school.profiles; DO $$ BEGIN IF EXISTS (SELECT FROM pg_stats WHERE tablename IN ('profiles', 'shelf')) OR \
         EXISTS (SELECT FROM pg_stats_ext WHERE tablename IN ('profiles', 'shelf')) THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "reads a sample, and a row by its place",
        "DO $$ BEGIN IF EXISTS (SELECT FROM school.profiles TABLESAMPLE SYSTEM (100)) OR EXISTS (SELECT FROM school.profiles WHERE \
         ctid = '(0,1)') THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "reads what it changes",
        "DO $$ DECLARE n int; BEGIN UPDATE school.profiles SET name = name RETURNING 1 INTO n; IF n = 1 THEN RAISE 'read'; END IF; \
         DELETE FROM school.profiles RETURNING 1 INTO n; IF n = 1 THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "merges with what it does not see",
        "SET app.user_id = '7'; MERGE INTO school.profiles AS p USING (SELECT 2 AS id) AS s ON p.id = s.id WHEN MATCHED THEN DELETE",
        Nothing,
    ),
    login(
        "writes a row of another user",
        "SET app.user_id = '7'; INSERT INTO school.profiles VALUES (3, 8, 'mine')",
        REFUSED,
    ),
    login(
        "gives its own row to another user",
        "SET app.user_id = '7'; UPDATE school.profiles SET user_id = 8",
        REFUSED,
    ),
    login(
        "takes a row over that is there already",
        "SET app.user_id = '7'; INSERT INTO school.profiles VALUES (2, 7, 'mine') ON CONFLICT (id) DO UPDATE SET user_id = 7",
        REFUSED,
    ),
    login(
        "finds out whether a row is there",
        "SET app.user_id = '7'; DO $$ BEGIN INSERT INTO school.profiles VALUES (2, 7, 'mine'); \
         EXCEPTION WHEN unique_violation THEN NULL; END $$",
        Nuisance("a unique index tells that a value is there; a random key tells nothing by that"),
    ),
    login(
        "says that it is another user",
        "SET app.user_id = '8'; DO $$ BEGIN IF NOT EXISTS (SELECT FROM school.profiles) THEN RAISE 'no'; END IF; END $$",
        Nuisance("who can run SQL can set the setting; policies protect users of an application from one another"),
    ),
    owner(
        "reads a giver's rows by a view",
        "CREATE VIEW school.past AS SELECT * FROM library.shelf; \
         DO $$ BEGIN IF EXISTS (SELECT FROM school.past) THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    owner(
        "keeps a giver's rows in a materialized view",
        "CREATE MATERIALIZED VIEW school.held AS SELECT * FROM library.shelf; \
         DO $$ BEGIN IF EXISTS (SELECT FROM school.held) THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    owner(
        "reads a giver's rows by a function with its owner's rights",
        "CREATE FUNCTION school.past() RETURNS bigint SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM library.shelf'; \
         DO $$ BEGIN IF school.past() > 0 THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    owner(
        "is in force no more on its own table",
        "ALTER TABLE school.profiles DISABLE ROW LEVEL SECURITY",
        Nuisance("its own rows, until the next survey"),
    ),
    migration(
        "opens, as a migration, a view past its own policies",
        "CREATE VIEW school.all_profiles AS SELECT * FROM school.profiles; GRANT SELECT ON school.all_profiles TO {writer}",
        Nuisance("its own rows; with Required the next survey takes the right"),
    ),
];

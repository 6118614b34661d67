//! Writes while the quota is used up: by every way that a tenant prepared before, and those that are left.

use serde_json::json;

use crate::{
    application::is_ended,
    support::{call, expect},
    world::{
        Attempt, By,
        Expected::{Nothing, Nuisance},
        REFUSED, World, login, migration, neighbour, with_world,
    },
};

/// What the tenant has ready before it is blocked. `writes` of `log` are what no login may do then.
pub const GROUND: &str = "
    CREATE TABLE log (id serial, what text); CREATE VIEW through AS SELECT * FROM log;
    CREATE FUNCTION writes() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'INSERT INTO school.log (what) VALUES (''x'') RETURNING 1';
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO school.log (what) VALUES (TG_NAME); RETURN OLD; END $$;
    CREATE FUNCTION note_as_owner() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO school.log (what) VALUES (TG_NAME); RETURN OLD; END $$;
    CREATE FUNCTION check_as(int) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO school.log (what) VALUES ('check'); RETURN true; END $$;
    CREATE TABLE plain (id int PRIMARY KEY); INSERT INTO plain SELECT generate_series(1, 9);
    CREATE TABLE by_trigger (id int); INSERT INTO by_trigger VALUES (1), (2);
    CREATE TRIGGER t AFTER DELETE ON by_trigger FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TABLE as_owner (id int); INSERT INTO as_owner VALUES (1), (2);
    CREATE TRIGGER t AFTER DELETE ON as_owner FOR EACH ROW EXECUTE FUNCTION note_as_owner();
    CREATE TABLE of_a_statement (id int); INSERT INTO of_a_statement VALUES (1);
    CREATE TRIGGER t BEFORE DELETE ON of_a_statement EXECUTE FUNCTION note_as_owner();
    CREATE TABLE by_rule (id int); INSERT INTO by_rule VALUES (1);
    CREATE RULE r AS ON DELETE TO by_rule DO ALSO INSERT INTO log (what) VALUES ('rule');
    CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
    CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE); INSERT INTO child VALUES (1);
    CREATE TRIGGER t AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TABLE grand (id int PRIMARY KEY); INSERT INTO grand VALUES (1);
    CREATE TABLE between (id int PRIMARY KEY REFERENCES grand ON DELETE CASCADE); INSERT INTO between VALUES (1);
    CREATE TABLE below (id int REFERENCES between ON DELETE CASCADE); INSERT INTO below VALUES (1);
    CREATE TRIGGER t AFTER DELETE ON below FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TABLE nulled (id int PRIMARY KEY); INSERT INTO nulled VALUES (1);
    CREATE TABLE checked (id int REFERENCES nulled ON DELETE SET NULL, CHECK (check_as(id))); INSERT INTO checked VALUES (1);
    CREATE DOMAIN lower_d AS int CHECK (check_as(VALUE)); CREATE DOMAIN upper_d AS lower_d;
    CREATE TABLE typed_up (id int PRIMARY KEY); INSERT INTO typed_up VALUES (1);
    CREATE TABLE typed (id int REFERENCES typed_up ON DELETE SET NULL, d upper_d GENERATED ALWAYS AS (id) STORED); INSERT INTO typed VALUES (1);
    CREATE TABLE parted (id int) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF parted DEFAULT;
    INSERT INTO parted VALUES (1); CREATE TRIGGER t AFTER DELETE ON part FOR EACH ROW EXECUTE FUNCTION note_as_owner();
    CREATE VIEW over AS SELECT * FROM as_owner;
    CREATE VIEW instead AS SELECT 1 AS id; CREATE TRIGGER t INSTEAD OF DELETE ON instead FOR EACH ROW EXECUTE FUNCTION note_as_owner();
    CREATE TABLE good_parent (id int PRIMARY KEY); INSERT INTO good_parent VALUES (1);
    CREATE TABLE good_child (id int REFERENCES good_parent ON DELETE CASCADE); INSERT INTO good_child VALUES (1);
    CREATE FUNCTION sly_write() RETURNS void LANGUAGE sql AS 'INSERT INTO school.log (what) VALUES (''sly'')';
    CREATE FUNCTION sly(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM school.sly_write(); RETURN $1; END $$;
    CREATE TABLE kept_up (id int) WITH (autovacuum_enabled = off); INSERT INTO kept_up VALUES (1); CREATE INDEX kept_up_i ON kept_up (sly(id));
    CREATE MATERIALIZED VIEW made AS SELECT sly(id) AS id FROM kept_up; GRANT TRIGGER ON good_child, plain TO PUBLIC;
    DO $$ BEGIN IF current_setting('server_version_num')::int >= 170000 THEN
        EXECUTE 'GRANT MAINTAIN ON school.kept_up, school.made TO PUBLIC'; END IF; END $$;
    TRUNCATE log RESTART IDENTITY";

pub const ATTEMPTS: &[Attempt] = &[
    login("inserts while it is blocked", "INSERT INTO school.plain VALUES (100)", REFUSED),
    login("updates while it is blocked", "UPDATE school.plain SET id = id + 100", REFUSED),
    login("copies in while it is blocked", "COPY school.plain FROM STDIN", REFUSED),
    login("empties a table while it is blocked", "TRUNCATE school.plain", REFUSED),
    login("takes numbers while it is blocked", "SELECT nextval('school.log_id_seq')", REFUSED),
    login("sets numbers while it is blocked", "SELECT setval('school.log_id_seq', 1000000)", REFUSED),
    login("becomes its writer while it is blocked", "SET ROLE {writer}", REFUSED),
    login("gives itself its writer back", "GRANT {writer} TO {login}", REFUSED),
    login(
        "lets itself in by its defaults",
        "ALTER ROLE {login} SET role = '{writer}'",
        Nuisance("a session that may not is told so and goes on as itself; told with the command"),
    ),
    login("writes by its defaults", "INSERT INTO school.plain VALUES (100)", REFUSED),
    login("has its defaults as before", "ALTER ROLE {login} RESET role", Nothing),
    login(
        "deletes and writes in one statement",
        "WITH d AS (DELETE FROM school.plain WHERE id < 0 RETURNING id) INSERT INTO school.log (what) SELECT id::text FROM d",
        REFUSED,
    ),
    login("writes as who may delete", "SET ROLE {deleter}; INSERT INTO school.log (what) VALUES ('x')", REFUSED),
    login("writes by a function with the owner's rights", "SELECT school.writes()", REFUSED),
    login("writes by a view", "INSERT INTO school.through (what) VALUES ('x')", REFUSED),
    login("writes by a trigger of a delete", "DELETE FROM school.by_trigger", REFUSED),
    login("writes by a trigger of a delete that has the owner's rights", "DELETE FROM school.as_owner", REFUSED),
    login("writes by a trigger of a delete of nothing", "DELETE FROM school.of_a_statement WHERE false", REFUSED),
    login("writes by a rule of a delete", "DELETE FROM school.by_rule", REFUSED),
    login("writes by a cascade to a table with a trigger", "DELETE FROM school.parent", REFUSED),
    login("writes by a cascade over two tables", "DELETE FROM school.grand", REFUSED),
    login("writes by a check of what a cascade sets to null", "DELETE FROM school.nulled", REFUSED),
    login("writes by a domain of what a cascade sets to null", "DELETE FROM school.typed_up", REFUSED),
    login("writes by a trigger of a partition", "DELETE FROM school.parted", REFUSED),
    login("writes by a trigger under a view", "DELETE FROM school.over", REFUSED),
    login("writes by a trigger instead of a delete", "DELETE FROM school.instead", REFUSED),
    login("makes a table while it is blocked", "CREATE TABLE school.more (id int)", REFUSED),
    login(
        "prepares a write while it is blocked",
        "BEGIN; INSERT INTO school.plain VALUES (100); PREPARE TRANSACTION 'x'",
        REFUSED,
    ),
    login(
        "opens itself by the functions",
        "SELECT edu_matrix_hub_schema.set_tenant_access('{\"access\": \"ReadWrite\"}')",
        REFUSED,
    ),
    login("notes that it has room", "SELECT edu_matrix_hub_schema.note_live_part(1, gen_random_uuid(), '{}')", REFUSED),
    migration("becomes its owner while it is blocked", "SET ROLE {owner}", REFUSED),
    migration("gives itself its owner back", "GRANT {owner} TO {migration}", REFUSED),
    migration("makes, as a migration, a table while it is blocked", "CREATE TABLE school.more (id int)", REFUSED),
    migration("reads, as a migration, while it is blocked", "SELECT * FROM school.plain", Nothing),
    migration("writes, as a migration, while it is blocked", "INSERT INTO school.plain VALUES (100)", REFUSED),
    migration("gives others writes while it is blocked", "GRANT INSERT ON school.plain TO PUBLIC", Nothing),
    migration(
        "turns policies off while it is blocked",
        "ALTER TABLE school.profiles DISABLE ROW LEVEL SECURITY",
        REFUSED,
    ),
    migration("calls, as a migration, a function with the owner's rights", "SELECT school.writes()", REFUSED),
    neighbour("writes what a tenant gave that is blocked", "INSERT INTO school.plain VALUES (100)", REFUSED),
    neighbour("deletes what a tenant gave that is blocked", "DELETE FROM school.plain", REFUSED),
    login("writes by code of an index that is built again", "REINDEX TABLE school.kept_up", REFUSED),
    login("writes by code of a materialized view", "REFRESH MATERIALIZED VIEW school.made", REFUSED),
    login("writes by code of an index that is looked at", "ANALYZE school.kept_up", Nothing),
    login(
        "writes by code of an index of a table that is written again",
        "CLUSTER school.kept_up USING kept_up_i",
        REFUSED,
    ),
    login(
        "puts a trigger where the server deletes as the owner",
        "CREATE FUNCTION pg_temp.mine() RETURNS trigger LANGUAGE plpgsql AS \
            $$ BEGIN INSERT INTO school.log (what) VALUES ('mine'); RETURN OLD; END $$; \
         CREATE TRIGGER mine AFTER DELETE ON school.good_child FOR EACH ROW EXECUTE FUNCTION pg_temp.mine()",
        REFUSED,
    ),
    login(
        "commits what it prepared before it was blocked",
        "COMMIT PREPARED '{database}_ready'",
        Nuisance("the Event names it with the statement that undoes it; max_prepared_transactions = 0 refuses it"),
    ),
    login("deletes rows while it is blocked", "DELETE FROM school.plain WHERE id < 0", Nothing),
    login("deletes rows with what refers to them", "DELETE FROM school.good_parent WHERE id < 0", Nothing),
    login(
        "writes temporary tables while it is blocked",
        "CREATE TEMP TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 100)",
        Nuisance("no survey counts them; REVOKE TEMPORARY ON DATABASE ends them"),
    ),
    login(
        "writes large objects while it is blocked",
        "SELECT lo_unlink(lo_from_bytea(0, 'x'))",
        Nuisance("they count; REVOKE EXECUTE of the lo_ functions from PUBLIC ends them"),
    ),
    login("writes to a neighbour that lets it", "INSERT INTO library.notes (note) VALUES ('x')", REFUSED),
];

/// Blocks the hostile tenant, which was ready for it, and whose neighbour may write to it.
async fn block(world: &mut World) {
    world.database.as_owner(&world.hostile, GROUND).await;
    let writes = json!({ "grants": [{ "namespace": "team-a", "name": "college", "privileges": ["Read", "Write"] }] });
    expect(&call(&world.lane.client, "set_tenant_grants", &world.hostile.options(&writes)).await, "success");
    world.lane.survey(true).await;
    let open = world.session(By::Login).await;
    open.batch_execute("BEGIN; INSERT INTO school.plain VALUES (1000)").await.unwrap();
    let prepared =
        world.filled("BEGIN; LOCK TABLE school.plain IN ROW EXCLUSIVE MODE; PREPARE TRANSACTION '{database}_ready'");
    world.session(By::Login).await.batch_execute(&prepared).await.unwrap();
    let migrating = world.session(By::Migration).await;
    let options = world.hostile.options(&json!({ "access": "WriteBlocked", "access_cause": "Quota" }));
    let answer = call(&world.lane.client, "set_tenant_access", &options).await;
    expect(&answer, "success");
    assert!(is_ended(&open).await && is_ended(&migrating).await, "{answer}");
    let told = answer["message"].as_str().unwrap();
    assert!(told.contains("a delete runs code with the owner's rights there"), "{answer}");
    assert!(told.contains(&world.filled("ROLLBACK PREPARED '{database}_ready'")), "{answer}");
    world.is_watched = true;
    let deleter = "SELECT edu_matrix_hub_schema._deleter_name(t) FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE schema_name = 'school'";
    let deleter: String = world.database.one(deleter).await;
    world.names.push(("{deleter}", deleter));
}

#[tokio::test]
async fn nothing_is_written_while_the_quota_is_used_up() {
    with_world(async |mut world| {
        block(&mut world).await;
        world.try_all(&[ATTEMPTS]).await;
        // Who deletes has room again.
        let session = world.session(By::Login).await;
        session.batch_execute("DELETE FROM school.plain; DELETE FROM school.good_parent").await.unwrap();
        world.is_watched = false;
        let options = world.hostile.options(&json!({ "access": "ReadWrite", "access_cause": null }));
        expect(&call(&world.lane.client, "set_tenant_access", &options).await, "success");
        let session = world.session(By::Login).await;
        session.batch_execute("INSERT INTO school.plain VALUES (1); DELETE FROM school.as_owner").await.unwrap();
        let session = world.session(By::Migration).await;
        session.batch_execute("CREATE TABLE school.more (id int)").await.unwrap();
        world.still_works().await;
    })
    .await;
}

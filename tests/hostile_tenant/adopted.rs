//! A schema that is offered for adoption, prepared by a hostile owner, and what that owner does when it is a tenant's.

use serde_json::json;

use crate::{
    adoption_world::{Before, adopt_whole, help, look},
    support::{call, expect},
    world::{
        Attempt, By,
        Expected::{Nothing, Nuisance, Refused},
        REFUSED, World, former, with_world,
    },
};

const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What it prepares: code that runs when a session evaluates, names that are statements, that are found first, that are as long as
/// they can be; rights for everybody, now and later; and objects of the kinds that others look at by name.
const GROUND: &str = "
    CREATE SCHEMA education; SET search_path = education;
    CREATE FUNCTION bait(v anyelement) RETURNS anyelement IMMUTABLE LANGUAGE plpgsql AS
        $$ BEGIN IF current_user !~ '_app$' THEN PERFORM nextval('public.ran'); END IF; RETURN v; END $$;
    CREATE FUNCTION bait() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('public.ran'); RETURN NEW; END $$;
    CREATE FUNCTION as_owner(statement text) RETURNS void SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN EXECUTE statement; END $$;
    CREATE FUNCTION format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM bait(1); RETURN ''; END $$;
    CREATE FUNCTION quote_ident(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM bait(1); RETURN 'college'; END $$;
    CREATE TABLE pupils (id int DEFAULT bait(1), user_id int, CHECK (bait(id) > 0)); CREATE INDEX ON pupils (bait(id));
    CREATE TRIGGER t BEFORE INSERT ON pupils FOR EACH ROW EXECUTE FUNCTION bait();
    CREATE TABLE tenant_schemas (id uuid, schema_name text); CREATE TABLE pg_class (oid oid);
    CREATE VIEW \"college.pupils\" AS SELECT bait(1) AS id; CREATE DOMAIN text AS pg_catalog.text CHECK (bait(1) = 1);
    CREATE TABLE \"x\"\"; DROP SCHEMA college CASCADE; --\" (id int); CREATE SEQUENCE \"$$; DROP SCHEMA college CASCADE; $$\";
    CREATE TABLE {long} ({long} int); CREATE FUNCTION {long}({long} int) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE TYPE {long}_t AS (x int);
    CREATE TABLE refers (id int REFERENCES public.shared);
    COMMENT ON SCHEMA education IS 'tenant {their_id}';
    GRANT ALL ON SCHEMA education TO PUBLIC, {their_login}; GRANT ALL ON ALL TABLES IN SCHEMA education TO PUBLIC;
    ALTER DEFAULT PRIVILEGES IN SCHEMA education GRANT ALL ON TABLES TO PUBLIC";

pub const ATTEMPTS: &[Attempt] = &[
    former("becomes the operator by what it owned", "SET ROLE {operator}", REFUSED),
    former("becomes the owner of the functions by what it owned", "SET ROLE {keeper}", REFUSED),
    former("lets its neighbour act as the adopted tenant", "GRANT {adopted_owner} TO {their_login}", REFUSED),
    former(
        "may give the adopted tenant's roles on",
        "GRANT {adopted_owner} TO CURRENT_USER WITH ADMIN OPTION",
        REFUSED,
    ),
    former("becomes the neighbour's owner", "SET ROLE {their_owner}", REFUSED),
    former("gives the adopted schema to a neighbour", "ALTER SCHEMA education OWNER TO {their_owner}", REFUSED),
    former(
        "renames the adopted schema",
        "ALTER SCHEMA education RENAME TO hidden; ALTER SCHEMA hidden RENAME TO education",
        Nuisance("of who kept CREATE on the database: the survey names it back; REVOKE CREATE ON DATABASE ends it"),
    ),
    former("changes the adopted tenant's roles", "ALTER ROLE {adopted_owner} LOGIN", REFUSED),
    former(
        "moves a table of the adopted schema to a neighbour",
        "ALTER TABLE education.pupils SET SCHEMA college",
        REFUSED,
    ),
    former("reads the registry by what it owned", "SELECT * FROM edu_matrix_hub_schema.tenant_adoptions", REFUSED),
    former(
        "adopts a neighbour's schema for its own object",
        "SELECT edu_matrix_hub_schema.adopt_tenant_schema('{\"schema_name\": \"college\"}')",
        REFUSED,
    ),
    former(
        "runs a statement as the adopted tenant against a neighbour",
        "SELECT education.as_owner('SELECT * FROM college.pupils')",
        REFUSED,
    ),
    former(
        "runs a statement as the adopted tenant against the registry",
        "SELECT education.as_owner('UPDATE edu_matrix_hub_schema.tenant_schemas SET quota_limit = NULL')",
        REFUSED,
    ),
    former("makes roles as the adopted tenant", "SELECT education.as_owner('CREATE ROLE stolen')", REFUSED),
    former(
        "changes the role in code of the adopted tenant",
        "SELECT education.as_owner('SET ROLE {their_owner}')",
        Refused(&["42501"]),
    ),
    former(
        "writes and alters what it owned",
        "ALTER TABLE education.tenant_schemas ADD COLUMN x int; INSERT INTO education.tenant_schemas (x) VALUES (1)",
        Nuisance(
            "former owners are members of the owner role until a person ends that; RowSecurity and the adoption's page say so",
        ),
    ),
    former(
        "reads a neighbour as before",
        "DO $$ BEGIN PERFORM FROM college.pupils; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$",
        Nothing,
    ),
];

#[tokio::test]
async fn a_schema_that_its_owner_prepared_takes_nothing_along() {
    with_world(async |mut world: World| {
        let canary = "CREATE SEQUENCE public.ran; GRANT USAGE ON SEQUENCE public.ran TO PUBLIC";
        world.database.admin.batch_execute(canary).await.unwrap();
        let before = Before::of(&world.database).await;
        let untouched = world.untouched().await;
        let ground = world.filled(GROUND).replace("{long}", LONG).replace(&format!("{LONG}_t"), &format!("{}_t", &LONG[2..]));
        before.make(&world.database, &ground).await;
        world.former.clone_from(&before.app);
        let plan = look(&world.database, "education", "education").await;
        assert!(plan["why"].as_str().unwrap().contains("another installation"), "its comment lies: {plan}");
        before.make(&world.database, "COMMENT ON SCHEMA education IS NULL").await;
        help(&world.database, "education", "education").await;
        let answer = adopt_whole(&world.database, "education", "education").await;
        expect(&answer, "success");
        let tenant = world.database.tenant_of(&answer).await;
        call(&world.lane.client, "repair_tenant_schema", &tenant.options(&json!({}))).await;
        world.names.push(("{adopted_owner}", tenant.owner.clone()));
        assert!(!world.database.one::<bool>("SELECT is_called FROM public.ran").await, "nothing of it ran");
        let now = world.untouched().await;
        for what in ["rows", "given", "shared", "backups", "functions", "database", "databases"] {
            assert_eq!(now[what], untouched[what], "{what}");
        }
        let others = "SELECT count(*) FROM (VALUES ('{their_login}'), ('{login}'), ('{migration}')) AS r (name) \
                      WHERE has_schema_privilege(r.name, 'education', 'USAGE') OR pg_has_role(r.name, '{adopted_owner}', 'MEMBER')";
        assert_eq!(world.database.one::<i64>(&world.filled(others)).await, 0);
        world.try_all(&[ATTEMPTS]).await;
        drop(world.session(By::Former).await);
        world.still_works().await;
    })
    .await;
}

//! Dropping a tenant loses nothing: its schema is set aside whole, blocks nothing, and comes back as it was.

use std::process::Command;

use serde_json::json;

use crate::backup_world::{Worker, World, drop_by_hand, front, id, set_access, succeed, text, with_world};
use crate::snapshot::FEATURES;
use crate::support::{expect, has_keepers};

/// The schema as pg_dump sees it, data included, without what differs from run to run.
fn dump(world: &World, schema: &str) -> String {
    let server = crate::support::server();
    let program = server.tool("pg_dump").unwrap();
    let output = Command::new(program)
        .envs(server.env())
        .args(["--schema", schema, "--dbname", &world.database.name])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with("--") && !l.contains("restrict"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Others that the tenant refers to, and references of every kind.
async fn with_references(world: &World, owner: &str) {
    world
        .run(&format!(
            "CREATE TABLE public.users (id int PRIMARY KEY, n text); INSERT INTO public.users SELECT g, 'u' || g FROM generate_series(1, 10) AS g;
             CREATE FUNCTION public.twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';
             CREATE COLLATION public.co FROM \"C\"; GRANT SELECT, REFERENCES ON public.users TO {owner}"
        ))
        .await;
}

const REFERENCES: &str = "
    CREATE TABLE school.enrolled (id int, u int);
    INSERT INTO school.enrolled SELECT g, g FROM generate_series(1, 10) AS g;
    ALTER TABLE school.enrolled ADD CONSTRAINT who FOREIGN KEY (u) REFERENCES public.users ON DELETE RESTRICT DEFERRABLE;
    COMMENT ON CONSTRAINT who ON school.enrolled IS 'it''s';
    CREATE TABLE school.split (u int REFERENCES public.users) PARTITION BY LIST (u);
    CREATE TABLE school.split_1 PARTITION OF school.split FOR VALUES IN (1);
    CREATE VIEW school.people WITH (security_barrier = true) AS
        SELECT e.id, u.n, u.n COLLATE public.co AS nc, 'a'::varchar(3) AS v, 'happy'::school.mood AS mood, 3::school.pos AS p
        FROM school.enrolled AS e JOIN public.users AS u ON u.id = e.u;
    ALTER VIEW school.people ALTER COLUMN id SET DEFAULT 7;
    COMMENT ON VIEW school.people IS 'both';
    CREATE VIEW school.names AS SELECT id, n FROM school.people;
    CREATE FUNCTION school.listed() RETURNS SETOF school.names LANGUAGE sql BEGIN ATOMIC SELECT id, n FROM school.names; END;
    CREATE FUNCTION school.users(a int DEFAULT 1, OUT n bigint) LANGUAGE sql STABLE STRICT COST 7 BEGIN ATOMIC SELECT count(*) FROM public.users WHERE id > a; END;
    CREATE FUNCTION school.rows(VARIADIC a int[]) RETURNS TABLE (id int, n text) LANGUAGE sql BEGIN ATOMIC SELECT u.id, u.n FROM public.users AS u; END;
    CREATE PROCEDURE school.twice(a int) LANGUAGE sql BEGIN ATOMIC SELECT public.twice(a); END;
";

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_as_it_was() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let foreigner = world.database.role("foreigner", "LOGIN").await;
        with_references(&world, &tenant.owner).await;
        world.as_owner(&tenant, FEATURES).await;
        world.as_owner(&tenant, REFERENCES).await;
        world
            .as_owner(&tenant, &format!("GRANT USAGE ON SCHEMA school TO {foreigner}; GRANT SELECT ON school.people TO {foreigner}; GRANT USAGE ON SCHEMA school TO PUBLIC"))
            .await;
        let before = dump(&world, "school");
        let acl = world.database.acl("school").await;
        let session = world.session().await;

        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        assert!(location.starts_with("school_bak_2"), "{location}");
        let (status, message) = front(&session, "drop_institution_schema", tenant.id).await;
        assert_eq!(status, "unchanged", "{message}");
        assert_eq!(world.database.acl(&location).await, format!("{{{0}=UC/{0}}}", world.database.owner_role));
        world.assert_clean().await;
        // Nothing outside is blocked by what was set aside.
        world.run("BEGIN; DELETE FROM public.users; DROP FUNCTION public.twice(int); DROP TABLE public.users; ROLLBACK").await;

        succeed(&session, "restore_set_aside", backup).await;
        assert_eq!(front(&session, "restore_set_aside", backup).await.0, "unchanged");
        assert_eq!(dump(&world, "school"), before);
        assert_eq!(world.database.acl("school").await, acl);
        assert_eq!(world.text("SELECT status || ' ' || access FROM edu_matrix_hub_schema.tenant_schemas").await, "active ReadWrite");
        world.assert_clean().await;
        let types = "SELECT string_agg(type || ' ' || status, ', ' ORDER BY id) FROM edu_matrix_hub_schema.schema_operations WHERE type IN ('set_aside', 'restore')";
        assert_eq!(world.text(types).await, "set_aside success, restore success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn references_that_cannot_be_made_again_are_named_and_the_tenant_comes_back() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        with_references(&world, &tenant.owner).await;
        world.as_owner(&tenant, FEATURES).await;
        world.as_owner(&tenant, REFERENCES).await;
        let session = world.session().await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        world.run("DELETE FROM public.users WHERE id = 3; DROP FUNCTION public.twice(int)").await;
        let message = succeed(&session, "restore_set_aside", backup).await;
        assert!(message.contains("foreign key school.enrolled.who is NOT VALID"), "{message}");
        assert!(message.contains("school.twice(integer) could not be made again"), "{message}");
        assert_eq!(world.text("SELECT count(*) FROM school.enrolled").await, "10");
        assert_eq!(world.text("SELECT count(*) FROM school.people").await, "9");
        assert_eq!(world.text("SELECT school.users()").await, "8");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_build_on_it_is_listed_and_left() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world
            .as_owner(
                &tenant,
                "CREATE TYPE school.mood AS ENUM ('sad'); CREATE TABLE school.t (id int PRIMARY KEY, b text); CREATE SEQUENCE school.s;
                 CREATE FUNCTION school.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE school.parts (a int) PARTITION BY LIST (a);
                 CREATE TABLE school.parent (a int); CREATE TABLE school.inner_key (a int REFERENCES school.t); CREATE VIEW school.v AS SELECT * FROM school.t;
                 CREATE FUNCTION school.on_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
            )
            .await;
        world
            .run(
                "CREATE SCHEMA reporting; CREATE TABLE reporting.mine (id int REFERENCES school.t); CREATE VIEW reporting.v AS SELECT * FROM school.v;
                 CREATE MATERIALIZED VIEW reporting.m AS SELECT count(*) FROM school.t;
                 CREATE TABLE reporting.d (a int DEFAULT nextval('school.s'), m school.mood, ms school.mood[]);
                 CREATE FUNCTION reporting.f(school.t) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT school.f(); END;
                 CREATE TABLE reporting.part PARTITION OF school.parts FOR VALUES IN (1); CREATE TABLE reporting.child () INHERITS (school.parent);
                 CREATE POLICY p ON reporting.mine USING (id IN (SELECT id FROM school.t)); CREATE DOMAIN reporting.dom AS school.mood;
                 CREATE RULE r AS ON INSERT TO reporting.d DO ALSO SELECT school.f();
                 CREATE TRIGGER t BEFORE INSERT ON reporting.mine FOR EACH ROW EXECUTE FUNCTION school.on_insert();
                 CREATE TABLE reporting.parent (a int); CREATE TABLE school.kid () INHERITS (reporting.parent)",
            )
            .await;
        let session = world.session().await;
        let answer = crate::support::call(&session, "set_aside_tenant_schema", &tenant.options(&json!({}))).await;
        assert_eq!(expect(&answer, "error"), "dependents");
        let expected = [
            "reporting.child", "reporting.d.a", "reporting.d.m", "reporting.d.ms", "reporting.d.r", "reporting.f(school.t)", "reporting.m",
            "reporting.mine.mine_id_fkey", "reporting.mine.p", "reporting.mine.t", "reporting.parent", "reporting.part", "reporting.v", "type reporting.dom",
        ];
        assert_eq!(answer["detail"]["dependents"], json!(expected));
        assert_eq!(answer["detail"]["dependent_count"], expected.len());
        assert_eq!(world.text("SELECT count(*) FROM pg_namespace WHERE nspname = 'school'").await, "1");
        world.assert_clean().await;
        // A publication is no dependent: it is recorded and left.
        world.run("DROP SCHEMA reporting CASCADE; CREATE PUBLICATION p FOR TABLE school.t").await;
        drop_by_hand(&world, &session, &tenant).await;
        let backup = world.newest_backup().await;
        assert_eq!(backup["manifest"]["publications"], json!([{ "publication": "p", "table": "t" }]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_tables_are_set_aside_at_once() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        for from in (1..5000).step_by(500) {
            let create = format!(
                "DO $$ BEGIN FOR i IN {from}..{} LOOP EXECUTE format('CREATE TABLE school.t%s (a int PRIMARY KEY, b text)', i); END LOOP; END $$",
                from + 499
            );
            world.as_owner(&tenant, &create).await;
        }
        let session = world.session().await;
        session.batch_execute("BEGIN").await.unwrap();
        succeed(&session, "drop_institution_schema", tenant.id).await;
        let locks: i64 = text(&session, "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()").await.parse().unwrap();
        session.batch_execute("COMMIT").await.unwrap();
        // Those are of catalogues and of the registry, with their indexes.
        assert!(locks < 300, "{locks} locks");
        let backup = world.newest_backup().await;
        assert_eq!(backup["table_count"], 5000);
        succeed(&session, "restore_set_aside", id(&backup["id"])).await;
        assert_eq!(world.text("SELECT count(*) FROM pg_class WHERE relnamespace = 'school'::regnamespace AND relkind = 'r'").await, "5000");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_reaches_it_and_every_role_comes_back() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.t AS SELECT 1 AS a").await;
        let app = world.database.role("app", "LOGIN").await;
        let member = world.database.role("member", "LOGIN").await;
        // A login of the tenant's own, and a foreign role that our keeper made a member.
        world
            .run(&format!(
                "GRANT {0} TO {app}; UPDATE edu_matrix_hub_schema.tenant_schemas SET logins = '{{{app}}}';
                 SELECT edu_matrix_hub_schema._role_command(t.keeper, 'join', '{{{member}}}', t.reader_role) FROM edu_matrix_hub_schema.tenant_schemas AS t",
                tenant.reader
            ))
            .await;
        if has_keepers() {
            let keeper = "SELECT role_name FROM edu_matrix_hub_schema.role_keepers AS k JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.keeper = k.n";
            world.run(&format!("GRANT {app} TO {} WITH ADMIN OPTION", world.text(keeper).await)).await;
        }
        let open = world.database.connect(&app).await;
        assert_eq!(text(&open, "SELECT a FROM school.t").await, "1");
        let session = world.session().await;
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        assert!(open.query("SELECT 1", &[]).await.is_err(), "its session was ended");
        assert!(world.database.try_connect(&app).await.is_err(), "its login is closed");
        let visitor = world.database.connect(&member).await;
        assert!(visitor.query(&format!("SELECT a FROM {location}.t"), &[]).await.is_err());
        assert_eq!(world.text(&format!("SELECT pg_has_role('{member}', '{}', 'MEMBER')", tenant.reader)).await, "false");
        succeed(&session, "restore_set_aside", backup).await;
        let again = world.database.connect(&app).await;
        assert_eq!(text(&again, "SELECT a FROM school.t").await, "1");
        assert_eq!(text(&visitor, "SELECT a FROM school.t").await, "1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_comes_back_suspended_and_opens_as_it_was() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let acl = world.database.acl("school").await;
        let session = world.session().await;
        expect(&set_access(&session, &tenant, "Suspended").await, "success");
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        succeed(&session, "restore_set_aside", backup).await;
        assert_eq!(world.text("SELECT status FROM edu_matrix_hub_schema.tenant_schemas").await, "suspended");
        expect(&set_access(&session, &tenant, "ReadWrite").await, "success");
        assert_eq!(world.database.acl("school").await, acl);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_a_tenant_schema_is_named_and_only_that_drops_it() {
    with_world(|world: World| async move {
        let tenant = world.database.tenant("school").await;
        let worker = Worker::claim(world.session().await).await;
        let (status, message) = front(&worker.client, "drop_institution_schema", tenant.id).await;
        assert_eq!(status, "error");
        assert!(message.contains("TenantSchema team-a/school"), "{message}");
        let other = worker.step("set_aside_tenant_schema", &tenant.options(&json!({ "owner_uid": "another" }))).await;
        assert_eq!(expect(&other, "error"), "not_owner");
        let options = tenant.options(&json!({ "owner_uid": "uid-school", "purge": true }));
        expect(&worker.step("set_aside_tenant_schema", &options).await, "success");
        expect(&worker.step("set_aside_tenant_schema", &options).await, "unchanged");
        assert_eq!(
            world.text("SELECT kind || ' ' || state FROM edu_matrix_hub_schema.schema_jobs").await,
            "purge requested"
        );

        // Restored before the job has begun: the job is off, and the tenant waits for an object to reclaim it.
        let backup = id(&world.newest_backup().await["id"]);
        succeed(&worker.client, "restore_set_aside", backup).await;
        assert_eq!(world.text("SELECT state FROM edu_matrix_hub_schema.schema_jobs").await, "cancelled");
        assert_eq!(
            world.text("SELECT status || ' ' || owner_uid FROM edu_matrix_hub_schema.tenant_schemas").await,
            "released uid-school"
        );
        succeed(&worker.client, "drop_institution_schema", tenant.id).await;

        // Made again, the TenantSchema may have it at once.
        let backup = id(&world.newest_backup().await["id"]);
        let owner = json!({ "cluster": "cluster-1", "namespace": "team-a", "name": "school", "uid": "uid-2" });
        let answer = crate::support::call(
            &worker.client,
            "restore_tenant_schema",
            &json!({ "backup_id": backup, "owner": owner }),
        )
        .await;
        expect(&answer, "success");
        assert_eq!(
            world.text("SELECT status || ' ' || owner_uid FROM edu_matrix_hub_schema.tenant_schemas").await,
            "active uid-2"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_or_institution_that_is_taken_meanwhile_is_not_taken_back() {
    with_world(|world: World| async move {
        let session = world.session().await;
        let tenant = world.tenant("taken").await;
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        for (make, remove, says) in [
            ("CREATE SCHEMA taken", "DROP SCHEMA taken", "no tenant of ours"),
            ("CREATE ROLE taken", "DROP ROLE taken", "a role has this name"),
        ] {
            world.run(make).await;
            let (status, message) = front(&session, "restore_set_aside", backup).await;
            world.run(remove).await;
            assert_eq!(status, "error");
            assert!(message.contains(says), "{message}");
        }
        let mut options = json!({ "schema_name": "taken", "beside": backup });
        options["institution_id"] = json!(world.database.institution().await);
        let made = crate::support::call(&session, "create_tenant_schema", &options).await;
        let second = world.database.tenant_of(&made).await;
        let (status, message) = front(&session, "restore_set_aside", backup).await;
        assert_eq!(status, "error");
        assert!(message.contains("another tenant has this name"), "{message}");
        drop_by_hand(&world, &session, &second).await;
        world.run(&format!("ALTER SCHEMA {location} OWNER TO {}", world.database.admin_role())).await;
        let (status, message) = front(&session, "restore_set_aside", backup).await;
        assert_eq!(status, "error");
        assert!(message.contains("belongs to role"), "{message}");
        world.run(&format!("ALTER SCHEMA {location} OWNER TO {}", tenant.owner)).await;
        succeed(&session, "restore_set_aside", backup).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_gone_leaves_nothing_to_set_aside() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.run("DROP SCHEMA school CASCADE").await;
        let session = world.session().await;
        let message = succeed(&session, "drop_institution_schema", tenant.id).await;
        assert!(message.contains("was missing"), "{message}");
        assert_eq!(world.text("SELECT count(*) FROM edu_matrix_hub_schema.schema_backups").await, "0");
        assert_eq!(world.text(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", tenant.owner)).await, "0");
        assert_eq!(front(&session, "drop_institution_schema", tenant.id).await.0, "unchanged");
        assert_eq!(front(&session, "drop_institution_schema", uuid::Uuid::new_v4()).await.0, "error");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_still_reaches_outside_is_named() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world
            .run(&format!(
                "CREATE TABLE public.shared (id int PRIMARY KEY); GRANT SELECT ON public.shared TO {0};
                 CREATE FUNCTION public.one() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE DOMAIN public.small AS int;
                 CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
                tenant.owner
            ))
            .await;
        world
            .as_owner(
                &tenant,
                "CREATE TABLE school.t (id int DEFAULT public.one(), n public.small); CREATE VIEW school.v AS SELECT id FROM public.shared;
                 CREATE POLICY p ON school.t USING (EXISTS (SELECT FROM public.shared AS s WHERE s.id = t.id));
                 CREATE MATERIALIZED VIEW school.m AS SELECT id FROM public.shared;
                 CREATE TRIGGER fire BEFORE INSERT ON school.t FOR EACH ROW EXECUTE FUNCTION public.fire();
                 CREATE RULE r AS ON DELETE TO school.t DO ALSO SELECT id FROM public.shared",
            )
            .await;
        let session = world.session().await;
        let message = succeed(&session, "drop_institution_schema", tenant.id).await;
        assert!(message.contains("cannot be dropped before it is, since these were left: default value "), "{message}");
        let left = "SELECT string_agg(r ->> 'kind', ', ' ORDER BY r ->> 'kind') FROM edu_matrix_hub_schema.schema_backups AS b,
                    jsonb_array_elements(b.manifest -> 'references_left') AS r";
        assert_eq!(world.text(left).await, "default value, materialized view, policy, rule, table, trigger");
        assert!(world.database.admin.batch_execute("DROP TABLE public.shared").await.is_err(), "as it says");
    })
    .await;
}

//! What a user changed by hand on our side of a tenant is put right within a survey period, and told.

use serde_json::json;

use crate::world::World;

/// What is done to a tenant, and what the Event about its repair says. `{schema}` is the schema's name, `{owner}`,
/// `{reader}` and `{writer}` are its roles, `{guest}` is a role of another user.
const CHANGES: [(&str, &str, &str); 10] = [
    ("owner", "ALTER SCHEMA {schema} OWNER TO {guest}", "schema \"{schema}\" belongs to \"{guest}\""),
    ("usage_public", "GRANT USAGE ON SCHEMA {schema} TO PUBLIC", "others have rights on schema \"{schema}\": PUBLIC"),
    ("create_public", "GRANT CREATE ON SCHEMA {schema} TO PUBLIC", "others have rights on schema \"{schema}\": PUBLIC"),
    ("usage_guest", "GRANT USAGE ON SCHEMA {schema} TO {guest}", "others have rights on schema \"{schema}\": {guest}"),
    ("revoked", "REVOKE USAGE ON SCHEMA {schema} FROM {reader}", "lost USAGE on schema \"{schema}\""),
    (
        "defaults",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO PUBLIC;
         ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE INSERT ON TABLES FROM {writer}",
        "on tables: \"{writer_name}\" lost INSERT, PUBLIC gained SELECT",
    ),
    ("login", "ALTER ROLE {owner} LOGIN", "has LOGIN"),
    ("createrole", "ALTER ROLE {reader} CREATEROLE", "has CREATEROLE"),
    ("dropped", "DROP OWNED BY {reader}; DROP ROLE {reader}", "is missing"),
    ("member", "GRANT {guest} TO {writer}", "is a member of \"{guest}\""),
];

/// Everything about a tenant that is ours, and what its roles may do with its table.
const FACTS: &str = "SELECT n.nspname, n.nspowner::regrole,
        (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(n.nspacl) AS a),
        (SELECT array_agg((d.defaclobjtype, (SELECT array_agg(a::text ORDER BY a::text)
                                              FROM unnest(d.defaclacl) AS a))::text ORDER BY d.defaclobjtype)
         FROM pg_default_acl AS d WHERE d.defaclrole = o.oid),
        (SELECT array_agg((r.rolname, r.rolcanlogin, r.rolcreaterole,
                           (SELECT count(*) FROM pg_auth_members AS m WHERE m.member = r.oid))::text ORDER BY r.rolname)
         FROM pg_roles AS r WHERE r.rolname IN (t.owner_role, t.reader_role, t.writer_role)),
        (SELECT array_agg(a::text ORDER BY a::text) FROM pg_class AS c, unnest(c.relacl) AS a
         WHERE c.relnamespace = n.oid AND c.relname = 'pupils')
 FROM edu_matrix_hub_schema.tenant_schemas AS t
 JOIN pg_namespace AS n ON n.nspname = t.schema_name
 JOIN pg_roles AS o ON o.rolname = t.owner_role
 ORDER BY n.nspname";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_changed_by_hand_is_repaired_and_told() {
    let world = World::new(json!({})).await;
    let guest = format!("e2e_{}_guest", world.id);
    world.sql(&format!("CREATE ROLE {guest}"));
    for (schema, ..) in CHANGES {
        world.apply_tenant(&schema.replace('_', "-"), json!({ "schemaName": schema })).await;
    }
    for (schema, ..) in CHANGES {
        world.ready_tenant(&schema.replace('_', "-")).await;
        world.sql_as(schema, "owner", &format!("CREATE TABLE {schema}.pupils AS SELECT 7 AS id"));
    }
    let before = world.sql(FACTS);
    let fill = |text: &str, schema: &str| {
        let mut text = text.replace("{schema}", schema).replace("{guest}", &guest);
        for role in ["owner", "reader", "writer"] {
            let name = world.tenant_role(schema, role);
            text = text.replace(&format!("{{{role}_name}}"), name.trim_matches('"'));
            text = text.replace(&format!("{{{role}}}"), &name);
        }
        text
    };
    let changes = CHANGES.map(|(schema, change, told)| (schema, fill(change, schema), fill(told, schema)));
    let all: Vec<_> = changes.iter().map(|(_, change, _)| change.as_str()).collect();
    world.sql(&all.join(";\n"));
    assert_ne!(world.sql(FACTS), before);

    // A survey finds it: the next look at a tenant that is at rest comes long after the wait has ended.
    world.eventually("everything is as it was", async || world.sql(FACTS) == before).await;
    for (schema, _, told) in &changes {
        let name = schema.replace('_', "-");
        world.event(&name, "DriftRepaired", told).await;
        world.ready_tenant(&name).await;
    }
    // Once repaired there is no more to say, and a reader that was made again reads what is there.
    world.next_survey().await;
    for (schema, ..) in CHANGES {
        let told = world.events_about(&schema.replace('_', "-")).await;
        assert!(matches!(told.as_slice(), [(_, _, 1)]), "one Event, told once: {told:?}");
        assert_eq!(world.sql_as(schema, "reader", &format!("SELECT id FROM {schema}.pupils")), "7");
    }
    world.sql(&format!("DROP ROLE {guest}"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_repaired_is_named_with_the_statement_that_does_it() {
    let world = World::new(json!({})).await;
    for name in ["rights", "holder", "renamed", "own"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
    }
    world.sql(&format!("ALTER ROLE {} SUPERUSER", world.tenant_role("rights", "writer")));
    world.sql(&format!("ALTER SCHEMA holder OWNER TO {}", world.postgres.user));
    world.sql(&format!("ALTER ROLE {} RENAME TO e2e_{}_other", world.tenant_role("renamed", "owner"), world.id));
    let found = [
        ("rights", "has SUPERUSER"),
        ("holder", "schema \"holder\" belongs to"),
        ("renamed", &*format!("is called \"e2e_{}_other\" now", world.id)),
    ];
    for (name, what) in found {
        let message = world.stalled_tenant(name, "DriftNotRepairable").await;
        assert!(message.contains(what), "{message}");
        let statement = message.split("a DBA can run: ").nth(1).unwrap().split("; ").next().unwrap();
        world.sql(statement);
        world.ready_tenant(name).await;
    }
    world.event("rights", "Ready", "ready again").await;

    // What a tenant does with its own objects is no drift, and neither are the members that others gave its roles.
    let guest = format!("e2e_{}_guest", world.id);
    world.sql(&format!("CREATE ROLE {guest}; GRANT {} TO {guest}", world.tenant_role("own", "reader")));
    world.sql_as(
        "own",
        "owner",
        &format!(
            "CREATE TABLE own.pupils (id int PRIMARY KEY); GRANT SELECT ON own.pupils TO {guest}, PUBLIC;
             REVOKE ALL ON own.pupils FROM {reader}; CREATE INDEX ON own.pupils (id);
             CREATE VIEW own.all AS TABLE own.pupils;
             CREATE FUNCTION own.one() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE own.mood AS ENUM ('ok');
             ALTER DEFAULT PRIVILEGES IN SCHEMA own GRANT SELECT ON TABLES TO PUBLIC;
             ALTER TABLE own.pupils ENABLE ROW LEVEL SECURITY; COMMENT ON SCHEMA own IS 'ours'",
            reader = world.tenant_role("own", "reader")
        ),
    );
    let applied = "tenant_schema_operator_sql_calls_total{function=\"apply_steps\"";
    let steps = world.count(applied);
    world.next_survey().await;
    world.next_survey().await;
    assert_eq!(world.count(applied), steps);
    assert_eq!(world.events_about("own").await, []);
    world.ready_tenant("own").await;
    let kept = world.sql("SELECT has_table_privilege('public', 'own.pupils', 'SELECT')");
    assert_eq!(kept, "t");
    world.sql(&format!("DROP OWNED BY {guest}; DROP ROLE {guest}"));
    world.finish().await;
}

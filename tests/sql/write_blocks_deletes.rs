//! What is deleted while writes are blocked runs nothing as the owner, and to find that out costs little.

use std::time::Instant;

use serde_json::json;

use crate::support::{Database, Tenant, call, expect, with_database};

/// The tables from which no login deletes.
async fn closed(database: &Database, tenant: &Tenant) -> Vec<String> {
    let sql = format!(
        "SELECT coalesce(array_agg(o.oid::regclass::text ORDER BY 1), '{{}}') FROM edu_matrix_hub_schema.tenant_schemas AS t, \
         edu_matrix_hub_schema._deletes_as_owner(t) AS o WHERE t.id = '{}'",
        tenant.id
    );
    database.one(&sql).await
}

/// A tenant may chain any number of tables, and makes of its own block no long one.
#[tokio::test]
async fn a_long_chain_of_cascades_is_followed_in_no_time() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let chain = "CREATE TABLE t0 (id int PRIMARY KEY); \
                     DO $$ BEGIN FOR n IN 1..4000 LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY REFERENCES t%s ON DELETE CASCADE)', \
                     n, n - 1); END LOOP; END $$; \
                     CREATE TABLE hub (id int PRIMARY KEY); \
                     DO $$ BEGIN FOR n IN 1..500 LOOP EXECUTE format('CREATE TABLE h%s (id int REFERENCES hub ON DELETE SET NULL)', n); \
                     END LOOP; END $$; \
                     CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; \
                     CREATE TRIGGER t AFTER DELETE ON t4000 FOR EACH ROW EXECUTE FUNCTION f()";
        for part in chain.split("; CREATE TABLE hub") {
            let part = if part.starts_with(" (") { format!("CREATE TABLE hub{part}") } else { part.to_owned() };
            database.as_owner(&tenant, &part).await;
        }
        let begun = Instant::now();
        assert_eq!(closed(&database, &tenant).await.len(), 4001, "all but the last, which has the trigger, and what else a chain leads to");
        let took = begun.elapsed();
        println!("a chain of 4,000 tables was followed in {took:?}");
        assert!(took.as_secs() < 3, "{took:?}");
        let options = tenant.options(&json!({ "access": "WriteBlocked", "access_cause": "Quota" }));
        let begun = Instant::now();
        expect(&call(&database.operator().await, "set_tenant_access", &options).await, "success");
        println!("and the tenant was blocked in {:?}", begun.elapsed());
    })
    .await;
}

/// Of what is harmless rows are deleted.
#[tokio::test]
async fn only_what_leads_to_code_of_the_owners_is_closed() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database
            .as_owner(
                &tenant,
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; \
                 CREATE FUNCTION s() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; \
                 CREATE TABLE plain (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES plain ON DELETE CASCADE, n int CHECK (n > 0)); \
                 CREATE TABLE nulled (id int REFERENCES plain ON DELETE SET NULL, at timestamptz DEFAULT now()); \
                 CREATE TABLE audited (id int PRIMARY KEY); CREATE TRIGGER t AFTER DELETE ON audited EXECUTE FUNCTION f(); \
                 CREATE TABLE stamped (id int); CREATE TRIGGER t AFTER INSERT OR UPDATE ON stamped EXECUTE FUNCTION s(); \
                 CREATE TABLE off (id int); CREATE TRIGGER t AFTER DELETE ON off EXECUTE FUNCTION s(); ALTER TABLE off DISABLE TRIGGER t; \
                 CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE); \
                 CREATE TABLE wood (id int PRIMARY KEY, up int REFERENCES wood ON DELETE CASCADE); \
                 CREATE TRIGGER t AFTER DELETE ON wood FOR EACH ROW EXECUTE FUNCTION f(); \
                 CREATE TABLE held (id int REFERENCES audited); CREATE TRIGGER t AFTER DELETE ON held EXECUTE FUNCTION f(); \
                 CREATE VIEW shown AS SELECT * FROM plain",
            )
            .await;
        assert_eq!(closed(&database, &tenant).await, ["school.wood"]);
        let options = tenant.options(&json!({ "access": "WriteBlocked", "access_cause": "Quota" }));
        let answer = call(&database.operator().await, "set_tenant_access", &options).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["no_deletes"], json!({ "count": 1, "name": "school.wood" }));
        let may = "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM edu_matrix_hub_schema.tenant_schemas AS t \
                   JOIN pg_class AS c ON c.relnamespace = t.schema_oid AND c.relkind IN ('r', 'v') \
                   WHERE has_table_privilege(t.deleter_role_oid, c.oid, 'DELETE')";
        let all = "audited child held nulled off plain shown stamped tree";
        assert_eq!(database.one::<String>(may).await, all);

        // What comes to lead there meanwhile is taken with the next block, and what does not any more is given.
        let open = tenant.options(&json!({ "access": "ReadWrite", "access_cause": null }));
        expect(&call(&database.operator().await, "set_tenant_access", &open).await, "success");
        let change = "DROP TRIGGER t ON wood; CREATE TRIGGER t AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION f()";
        database.as_owner(&tenant, change).await;
        let answer = call(&database.operator().await, "set_tenant_access", &options).await;
        assert_eq!(answer["detail"]["no_deletes"]["count"], json!(2), "{answer}");
        assert_eq!(database.one::<String>(may).await, "audited child held nulled off stamped tree wood");
    })
    .await;
}

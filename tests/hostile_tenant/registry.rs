//! The registry, the functions that act for every tenant, and the operator's sessions.

use crate::world::{
    Attempt,
    Expected::{Nothing, Nuisance, Refused},
    REFUSED, login, owner,
};

pub const ATTEMPTS: &[Attempt] = &[
    login("reads the registry", "SELECT * FROM edu_matrix_hub_schema.tenant_schemas", REFUSED),
    login("reads the credentials", "SELECT * FROM edu_matrix_hub_schema.tenant_credentials", REFUSED),
    login("writes the registry", "UPDATE edu_matrix_hub_schema.tenant_schemas SET quota_limit = NULL", REFUSED),
    login("stops the lane", "BEGIN; LOCK TABLE edu_matrix_hub_schema.lane_lock; COMMIT", REFUSED),
    login("claims the lane", "SELECT edu_matrix_hub_schema.claim_lane('{}')", REFUSED),
    login("calls a step", "SELECT edu_matrix_hub_schema.apply_steps(1, gen_random_uuid(), '[]')", REFUSED),
    login(
        "issues itself a neighbour's credential",
        "SELECT edu_matrix_hub_schema.issue_credential('{\"schema_id\": \"{their_id}\", \"purpose\": \"connection\"}')",
        REFUSED,
    ),
    login("opens itself", "SELECT edu_matrix_hub_schema.set_tenant_access('{\"access\": \"ReadWrite\"}')", REFUSED),
    login(
        "sets a neighbour aside",
        "SELECT edu_matrix_hub_schema.set_aside_tenant_schema('{\"schema_id\": \"{their_id}\"}')",
        REFUSED,
    ),
    login(
        "adopts a neighbour's schema",
        "SELECT edu_matrix_hub_schema.adopt_tenant_schema('{\"schema_name\": \"college\"}')",
        REFUSED,
    ),
    login(
        "asks what a database administrator runs for an adoption",
        "SELECT edu_matrix_hub_schema.adoption_statements('public')",
        REFUSED,
    ),
    login("acts as a keeper of roles", "SELECT edu_matrix_hub_schema._keep('CREATE ROLE stolen')", REFUSED),
    login("asks what an administrator may ask", "SELECT edu_matrix_hub_schema.observe_tenant('{}')", REFUSED),
    login(
        "finds the functions by the search path",
        "SET search_path = edu_matrix_hub_schema; SELECT installation()",
        Refused(&["42883"]),
    ),
    login("looks for holes itself", "SELECT edu_matrix_hub_schema._isolation_holes('{}')", REFUSED),
    login("makes an object in the registry", "CREATE TABLE edu_matrix_hub_schema.x (id int)", REFUSED),
    login("drops the registry", "DROP SCHEMA edu_matrix_hub_schema CASCADE", REFUSED),
    login("ends the operator's session", "SELECT pg_terminate_backend({operator_pid})", REFUSED),
    login("cancels the operator's statement", "SELECT pg_cancel_backend({operator_pid})", REFUSED),
    login(
        "reads the operator's statements",
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_stat_activity WHERE pid = {operator_pid} AND query !~ 'insufficient') \
         THEN RAISE 'read'; END IF; END $$",
        Nothing,
    ),
    login(
        "holds every advisory key that it likes",
        "SELECT pg_advisory_lock(n) FROM generate_series(1, 2000) AS n",
        Nuisance("the operator waits for none; they go with the session"),
    ),
    owner(
        "calls a function of the registry by a trigger",
        "CREATE TRIGGER t AFTER INSERT ON school.pupils EXECUTE FUNCTION edu_matrix_hub_schema._remember_logins()",
        REFUSED,
    ),
    owner(
        "calls a function of the registry by an aggregate",
        "CREATE AGGREGATE school.a (bigint) (sfunc = edu_matrix_hub_schema._role_problem, stype = bigint)",
        Refused(&["42501", "42883"]),
    ),
    owner(
        "calls a function of the registry by a default",
        "ALTER TABLE school.pupils ALTER name SET DEFAULT edu_matrix_hub_schema._timeline()::text",
        REFUSED,
    ),
    owner(
        "says in a comment that its schema is a neighbour's",
        "COMMENT ON SCHEMA school IS 'tenant {their_id}'",
        Nuisance("comments prove nothing: the registry knows schemas by their numbers"),
    ),
    owner("drops its own schema", "BEGIN; DROP SCHEMA school CASCADE; ROLLBACK", Nothing),
];

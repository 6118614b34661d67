-- What a tenant's spec asks for in row-level security, one row for each tenant that asks, and what came of it. `digest`
-- is the operator's, by which it sees whether the spec is another one. `word` is in the names of the policies that
-- we make, so that none is called like one of the tenant's; no call acts on it but to clear up after a restored dump,
-- which gives policies other identifiers. A row whose mode is null is of a tenant that asks for nothing any more, and
-- goes when everything was taken back.
--
-- `table_count` is how many tables have our policies. `uncovered` is what reads or writes past them, the first five
-- of `uncovered_count` as [{what, statement}...], and `forced` are the statements for tables whose owner is bound too.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.tenant_row_security (
    schema_id       uuid    PRIMARY KEY REFERENCES edu_matrix_hub_schema.tenant_schemas (id) ON DELETE CASCADE,
    mode            text    CHECK (mode IN ('Required', 'BestEffort')),
    policies        jsonb   NOT NULL,
    digest          text    NOT NULL,
    word            text    NOT NULL,
    table_count     integer NOT NULL DEFAULT 0,
    uncovered       jsonb   NOT NULL DEFAULT '[]',
    uncovered_count integer NOT NULL DEFAULT 0,
    forced          text[]  NOT NULL DEFAULT '{}'
);
ALTER TABLE edu_matrix_hub_schema.tenant_row_security ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- What is known of tables, views and functions of such a tenant. `policies` are ours on a table, [{key, oid, mark,
-- policy, digest, column}...]: `key` is what one is to be, `mark` the version of its row when it was made, which is
-- another one when it was altered.
-- `enabled` says that we turned row security on. `taken` are the rights that others lost since the object reads or
-- writes past the policies, and get back when it does not.
--
-- With `Required` every object has a row: one that has none is new, and was given nothing yet.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.row_security_objects (
    schema_id  uuid    NOT NULL REFERENCES edu_matrix_hub_schema.tenant_row_security (schema_id) ON DELETE CASCADE,
    object_oid oid     NOT NULL,
    is_routine boolean NOT NULL,
    policies   jsonb   NOT NULL DEFAULT '[]',
    enabled    boolean NOT NULL DEFAULT false,
    taken      jsonb,
    PRIMARY KEY (schema_id, object_oid, is_routine)
);
ALTER TABLE edu_matrix_hub_schema.row_security_objects ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

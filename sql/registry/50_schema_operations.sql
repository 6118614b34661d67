-- The log: one row for every call that did something or failed to. It refers to tenants without a foreign key, because
-- it outlives them; the survey prunes it by age and never removes the last row of a kind.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.schema_operations (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_id    uuid,
    type         text        NOT NULL,
    status       text        NOT NULL,
    description  text,
    metadata     jsonb       NOT NULL DEFAULT '{}',
    error        text,
    sqlstate     text,
    requested_by text        NOT NULL,
    started_at   timestamptz NOT NULL,
    completed_at timestamptz,
    duration_ms  bigint
);
-- The object that the tenant belonged to then: another one may have its name, or the tenant, by the time it is read.
ALTER TABLE edu_matrix_hub_schema.schema_operations ADD COLUMN IF NOT EXISTS owner_uid text;
CREATE INDEX IF NOT EXISTS schema_operations_schema_id ON edu_matrix_hub_schema.schema_operations (schema_id, id DESC);
CREATE INDEX IF NOT EXISTS schema_operations_started_at ON edu_matrix_hub_schema.schema_operations (started_at);
ALTER TABLE edu_matrix_hub_schema.schema_operations ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

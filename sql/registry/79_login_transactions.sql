-- The transactions of tenants' logins that surveys met, each from the first one on. What a session does the server
-- shows only to a member of its role, and that it is in a transaction to all (see _end_idle_transactions). `looked_at`
-- is when it was met, or found at work.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.login_transactions (
    pid         integer     NOT NULL,
    transaction text        NOT NULL,
    login_oid   oid         NOT NULL,
    schema_id   uuid        NOT NULL REFERENCES edu_matrix_hub_schema.tenant_schemas (id) ON DELETE CASCADE,
    looked_at   timestamptz NOT NULL,
    PRIMARY KEY (pid, transaction)
);
CREATE INDEX IF NOT EXISTS login_transactions_schema_id ON edu_matrix_hub_schema.login_transactions (schema_id);
ALTER TABLE edu_matrix_hub_schema.login_transactions ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- What a tenant logs in with, one row for each purpose: which of two logins is in use, and which credential it has. By
-- `connection` its applications read and write; by `migration` its tables are made and changed. A credential is a
-- password, of which only its verifier comes here; its id is written in the Secret too, so that whichever is older,
-- database or Secret, is noticed. The login before stays open until `previous_until`, so that an application has time
-- to read the new Secret.
--
-- Limits and timeouts are what the logins that are open were given; the survey compares them with what they have.
-- `previous_closed_at` and `withdrawn_at` say when logins were closed. A session that came in before that was committed
-- is ended by a second call, so the row keeps them until then.
-- `salt` is that of the password, as the server tells it to each client that wants to log in. Whether a look at the
-- server found it was ever so (`salt_seen`), and whether the latest found another (`password_changed`), see
-- _passwords_to_try.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.tenant_credentials (
    schema_id          uuid        NOT NULL REFERENCES edu_matrix_hub_schema.tenant_schemas (id) ON DELETE CASCADE,
    purpose            text        NOT NULL CHECK (purpose IN ('connection', 'migration')),
    login              text        NOT NULL,
    credential_id      uuid        NOT NULL,
    issued_at          timestamptz NOT NULL,
    previous_login     text,
    previous_until     timestamptz CHECK ((previous_until IS NULL) = (previous_login IS NULL)),
    previous_closed_at timestamptz,
    withdrawn_at       timestamptz,
    connection_limit   integer     NOT NULL,
    statement_timeout_seconds           integer NOT NULL,
    idle_in_transaction_timeout_seconds integer NOT NULL,
    PRIMARY KEY (schema_id, purpose)
);
-- A table of an earlier release knew one purpose.
ALTER TABLE edu_matrix_hub_schema.tenant_credentials
    DROP CONSTRAINT tenant_credentials_purpose_check,
    ADD CONSTRAINT tenant_credentials_purpose_check CHECK (purpose IN ('connection', 'migration'));
ALTER TABLE edu_matrix_hub_schema.tenant_credentials ADD COLUMN IF NOT EXISTS salt text;
ALTER TABLE edu_matrix_hub_schema.tenant_credentials ADD COLUMN IF NOT EXISTS salt_seen boolean NOT NULL DEFAULT false;
ALTER TABLE edu_matrix_hub_schema.tenant_credentials
    ADD COLUMN IF NOT EXISTS password_changed boolean NOT NULL DEFAULT false;
ALTER TABLE edu_matrix_hub_schema.tenant_credentials ADD COLUMN IF NOT EXISTS tried_at timestamptz;
-- Whose turn it is to be tried.
CREATE INDEX IF NOT EXISTS tenant_credentials_tried_at
    ON edu_matrix_hub_schema.tenant_credentials (tried_at NULLS FIRST);
-- Those whose grace is running or over (see _end_released_graces).
CREATE INDEX IF NOT EXISTS tenant_credentials_previous_until
    ON edu_matrix_hub_schema.tenant_credentials (previous_until) WHERE previous_until IS NOT NULL;
ALTER TABLE edu_matrix_hub_schema.tenant_credentials ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

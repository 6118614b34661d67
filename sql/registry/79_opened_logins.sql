-- Since when each login of a tenant has been open, as the one of its latest credential; one row for each that ever was.
-- A session may have proved its former password before that, and may still be coming in (see _end_parked_sessions).
-- `known_pids` are the sessions that were looked at and came in since, and `ended_pids` those that the latest closing
-- ended, which may be listed for a moment. No session from before has the number of one of these: it was there all
-- the time. `made_in` is the database whose installation opened it: a copy of that has the same rows, and the login is
-- the original's.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.opened_logins (
    login_oid  oid         PRIMARY KEY,
    schema_id  uuid        NOT NULL REFERENCES edu_matrix_hub_schema.tenant_schemas (id) ON DELETE CASCADE,
    opened_at  timestamptz NOT NULL,
    known_pids integer[]   NOT NULL DEFAULT '{}',
    ended_pids integer[]   NOT NULL DEFAULT '{}'
);
ALTER TABLE edu_matrix_hub_schema.opened_logins ADD COLUMN IF NOT EXISTS made_in oid;
CREATE INDEX IF NOT EXISTS opened_logins_schema_id ON edu_matrix_hub_schema.opened_logins (schema_id);
-- A heartbeat looks for those that were opened lately.
CREATE INDEX IF NOT EXISTS opened_logins_opened_at ON edu_matrix_hub_schema.opened_logins (opened_at);
ALTER TABLE edu_matrix_hub_schema.opened_logins ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- The databases in which archives are restored to prove them. Each is known here before it is made, and ends with the
-- job that made it; one that an operator left behind which was killed is found here by the next. `name` has a random
-- part, and `database_oid` is noted when the database stands.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.scratch_databases (
    name         text        PRIMARY KEY,
    database_oid oid,
    job_id       uuid        NOT NULL,
    begun_at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
ALTER TABLE edu_matrix_hub_schema.scratch_databases ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

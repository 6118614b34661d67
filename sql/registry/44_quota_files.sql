-- What deleted rows have left free in a tenant's files, which does not count in its quota (see note_live_part): a file
-- shrinks only at its end. Not more than half of what the files have is ever left out.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS freed_bytes bigint NOT NULL DEFAULT 0;
-- The larger tables of a tenant that is blocked for its quota, or was, one row for each file: of the table with its
-- indexes, and of its TOAST. `bytes`, `live` and `deleted` are the size and the server's counters when it was blocked;
-- `rows` are those that were there then, as the first VACUUM counted them; `dead` are those that a VACUUM was to find
-- removed. `live_after` and `deleted_after` are the
-- counters at the latest VACUUM, and `freed` is what it found. One that is made again has another number and no row.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.quota_files (
    schema_id     uuid    NOT NULL REFERENCES edu_matrix_hub_schema.tenant_schemas (id) ON DELETE CASCADE,
    relation_oid  oid     NOT NULL,
    table_oid     oid     NOT NULL,
    file          oid     NOT NULL,
    bytes         bigint  NOT NULL,
    live          bigint  NOT NULL,
    deleted       bigint  NOT NULL,
    dead          bigint  NOT NULL DEFAULT 0,
    rows          double precision,
    live_after    bigint,
    deleted_after bigint,
    freed         bigint  NOT NULL DEFAULT 0,
    tries         integer NOT NULL DEFAULT 0,
    tried_at      timestamptz,
    PRIMARY KEY (schema_id, relation_oid)
);
ALTER TABLE edu_matrix_hub_schema.quota_files ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

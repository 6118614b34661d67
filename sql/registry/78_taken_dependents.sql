-- Rows of grants from before there was this column.
UPDATE edu_matrix_hub_schema.tenant_schemas AS t
SET granted_to = g.grantees
FROM (SELECT d.schema_id, pg_catalog.array_agg(DISTINCT d.grantee_id) AS grantees
      FROM edu_matrix_hub_schema.tenant_grants AS d WHERE d.grantee_id IS NOT NULL GROUP BY d.schema_id) AS g
WHERE g.schema_id = t.id AND t.granted_to = '{}';

-- Views and functions of a tenant over another one's tables that were removed when that other one, `grantor_id`, was
-- set aside as `backup_id`, in the order in which they were. What went last is made again first, since the others may
-- need it; its row goes with that.
--
-- It refers to both tenants without a foreign key, since it outlives the schema of the other one.
--
-- Of `remake` the first statement makes it, without rows, and the others give it what it had; none are there where the
-- definition could not be read. `acl` is who had which right, by the numbers of the roles. `homes` are the schemas that
-- it names (_dependent_homes). `note` is why it could not be made again; `request` is the last word of a user to look
-- again. `gone_at` is when the other tenant was removed for good; the row is kept for some time after that.
--
-- `backup_id` is null while the rest of them has still to be removed, in calls of their own.
CREATE TABLE IF NOT EXISTS edu_matrix_hub_schema.taken_dependents (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_id  uuid        NOT NULL,
    grantor_id uuid        NOT NULL,
    backup_id  uuid,
    kind       text        NOT NULL,
    name       text        NOT NULL,
    remake     text[]      NOT NULL,
    acl        jsonb       NOT NULL,
    homes      jsonb       NOT NULL,
    note       text,
    request    text,
    taken_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
    gone_at    timestamptz
);
CREATE INDEX IF NOT EXISTS taken_dependents_schema_id ON edu_matrix_hub_schema.taken_dependents (schema_id);
CREATE INDEX IF NOT EXISTS taken_dependents_grantor_id
    ON edu_matrix_hub_schema.taken_dependents (grantor_id);
ALTER TABLE edu_matrix_hub_schema.taken_dependents ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- How each of them stands: `away` while the other tenant or its grant is not there, `due` when it can be made again,
-- `left` when that failed, and `gone`. What was removed for a drop that has not come to its end is due an hour after
-- the last that was heard of that drop.
CREATE OR REPLACE VIEW edu_matrix_hub_schema.taken_states AS
SELECT d.id, d.schema_id, d.grantor_id,
       CASE WHEN d.gone_at IS NOT NULL THEN 'gone'
            WHEN d.note IS NOT NULL THEN 'left'
            WHEN p.stands AND (d.backup_id IS NOT NULL OR p.given_up) THEN 'due'
            ELSE 'away' END AS state
FROM edu_matrix_hub_schema.taken_dependents AS d
JOIN (SELECT w.schema_id, w.grantor_id,
             g.status <> 'dropped' AND g.status IN ('active', 'suspended', 'released')
             AND EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_grant_targets AS e
                         WHERE e.schema_id = w.grantor_id AND e.grantee_id = w.schema_id)
             AND coalesce(pg_catalog.has_schema_privilege(t.owner_role_oid, g.schema_oid, 'USAGE'), false) AS stands,
             w.last_turn < pg_catalog.now() - interval '1 hour'
             AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.schema_operations AS o
                             WHERE w.last_turn IS NOT NULL AND o.schema_id = w.grantor_id AND o.type = 'set_aside'
                               AND o.completed_at > pg_catalog.now() - interval '1 hour') AS given_up
      FROM (SELECT o.schema_id, o.grantor_id, pg_catalog.max(o.taken_at) FILTER (WHERE o.backup_id IS NULL) AS last_turn
            FROM edu_matrix_hub_schema.taken_dependents AS o GROUP BY o.schema_id, o.grantor_id) AS w
      JOIN edu_matrix_hub_schema.tenant_schemas AS g ON g.id = w.grantor_id
      JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = w.schema_id) AS p
  ON p.schema_id = d.schema_id AND p.grantor_id = d.grantor_id;

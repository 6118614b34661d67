-- The large objects of a tenant's roles, as a survey found them (see _large_objects): {count, bytes, least, how}; null
-- when there are none. `bytes` counts in what the tenant uses, and `least` in what its writes are taken for.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS large_objects jsonb;
-- By which a survey knows that no large object came, went or was written since the survey before (see
-- _large_objects_mark).
ALTER TABLE edu_matrix_hub_schema.installation ADD COLUMN IF NOT EXISTS large_objects_mark text;
-- How fast a tenant with a quota grows (see _growth): {bytes, per_day}, and when that was noted.
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS growth_at timestamptz;
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS growth jsonb;

SELECT pg_catalog.to_jsonb(edu_matrix_hub_schema.end_stray_sessions())

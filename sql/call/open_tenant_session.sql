SELECT edu_matrix_hub_schema.open_tenant_session($1, $2, $3)

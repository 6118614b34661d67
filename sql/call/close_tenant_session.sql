SELECT edu_matrix_hub_schema.close_tenant_session($1, $2, $3)

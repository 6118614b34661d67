SELECT edu_matrix_hub_schema.observe_tenant($1)

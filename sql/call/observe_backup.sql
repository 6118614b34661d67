SELECT edu_matrix_hub_schema.observe_backup($1)

SELECT edu_matrix_hub_schema.run_job($1, $2, $3)

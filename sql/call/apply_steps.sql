SELECT edu_matrix_hub_schema.apply_steps($1, $2, $3)

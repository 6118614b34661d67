SELECT edu_matrix_hub_schema.left_scratch($1, $2, $3)

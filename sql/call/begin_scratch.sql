SELECT edu_matrix_hub_schema.begin_scratch($1, $2, $3, $4)

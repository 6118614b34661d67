SELECT edu_matrix_hub_schema.begin_removal($1, $2, $3)

SELECT edu_matrix_hub_schema.begin_archive($1, $2, $3, $4)

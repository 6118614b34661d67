SELECT edu_matrix_hub_schema.record_removal($1, $2, $3, $4)

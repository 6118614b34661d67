SELECT edu_matrix_hub_schema.record_archive($1, $2, $3, $4)

SELECT edu_matrix_hub_schema.finish_job($1, $2, $3, $4)

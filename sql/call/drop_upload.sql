SELECT edu_matrix_hub_schema.drop_upload($1, $2, $3)

SELECT edu_matrix_hub_schema.release_lane($1, $2)

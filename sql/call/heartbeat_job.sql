SELECT edu_matrix_hub_schema.heartbeat_job($1, $2, $3)

SELECT edu_matrix_hub_schema.heartbeat_lane($1, $2, $3)

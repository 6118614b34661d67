SELECT edu_matrix_hub_schema.claim_lane($1)

SELECT edu_matrix_hub_schema.claim_job($1, $2, $3)

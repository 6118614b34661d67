SELECT edu_matrix_hub_schema.installation()

SELECT edu_matrix_hub_schema.survey_tenants($1, $2, $3)

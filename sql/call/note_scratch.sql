SELECT edu_matrix_hub_schema.note_scratch($1, $2, $3)

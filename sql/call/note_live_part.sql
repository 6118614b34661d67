SELECT edu_matrix_hub_schema.note_live_part($1, $2, $3)

-- Ends the installing transaction: who may call what, and what was installed.
SELECT edu_matrix_hub_schema.record_installation();

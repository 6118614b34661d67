-- Ends the installing transaction: gives the rights to call functions, and records what was installed.
SELECT edu_matrix_hub_schema.record_installation();

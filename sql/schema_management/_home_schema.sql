-- The schema that an object of the catalogue lives in: its own, or that of the table, view, type or operator family that it is
-- part of. Null for what lives in no schema, such as a cast, a publication or an extension.
--
-- Every look-up names the catalogue that the number is of: object identifiers are unique within one catalogue only.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._home_schema(classid oid, objid oid) RETURNS oid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE $1
        WHEN 'pg_class'::regclass THEN (SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = $2)
        WHEN 'pg_type'::regclass THEN (SELECT y.typnamespace FROM pg_type AS y WHERE y.oid = $2)
        WHEN 'pg_proc'::regclass THEN (SELECT p.pronamespace FROM pg_proc AS p WHERE p.oid = $2)
        WHEN 'pg_constraint'::regclass THEN (SELECT k.connamespace FROM pg_constraint AS k WHERE k.oid = $2)
        WHEN 'pg_attrdef'::regclass THEN (SELECT c.relnamespace FROM pg_attrdef AS a JOIN pg_class AS c ON c.oid = a.adrelid WHERE a.oid = $2)
        WHEN 'pg_rewrite'::regclass THEN (SELECT c.relnamespace FROM pg_rewrite AS u JOIN pg_class AS c ON c.oid = u.ev_class WHERE u.oid = $2)
        WHEN 'pg_trigger'::regclass THEN (SELECT c.relnamespace FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid WHERE t.oid = $2)
        WHEN 'pg_policy'::regclass THEN (SELECT c.relnamespace FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid WHERE p.oid = $2)
        WHEN 'pg_statistic_ext'::regclass THEN (SELECT s.stxnamespace FROM pg_statistic_ext AS s WHERE s.oid = $2)
        WHEN 'pg_operator'::regclass THEN (SELECT o.oprnamespace FROM pg_operator AS o WHERE o.oid = $2)
        WHEN 'pg_opclass'::regclass THEN (SELECT o.opcnamespace FROM pg_opclass AS o WHERE o.oid = $2)
        WHEN 'pg_opfamily'::regclass THEN (SELECT o.opfnamespace FROM pg_opfamily AS o WHERE o.oid = $2)
        WHEN 'pg_amop'::regclass THEN (SELECT f.opfnamespace FROM pg_amop AS a JOIN pg_opfamily AS f ON f.oid = a.amopfamily WHERE a.oid = $2)
        WHEN 'pg_amproc'::regclass THEN (SELECT f.opfnamespace FROM pg_amproc AS a JOIN pg_opfamily AS f ON f.oid = a.amprocfamily WHERE a.oid = $2)
        WHEN 'pg_collation'::regclass THEN (SELECT k.collnamespace FROM pg_collation AS k WHERE k.oid = $2)
        WHEN 'pg_conversion'::regclass THEN (SELECT k.connamespace FROM pg_conversion AS k WHERE k.oid = $2)
        WHEN 'pg_ts_config'::regclass THEN (SELECT k.cfgnamespace FROM pg_ts_config AS k WHERE k.oid = $2)
        WHEN 'pg_ts_dict'::regclass THEN (SELECT k.dictnamespace FROM pg_ts_dict AS k WHERE k.oid = $2)
        WHEN 'pg_ts_parser'::regclass THEN (SELECT k.prsnamespace FROM pg_ts_parser AS k WHERE k.oid = $2)
        WHEN 'pg_ts_template'::regclass THEN (SELECT k.tmplnamespace FROM pg_ts_template AS k WHERE k.oid = $2)
    END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._home_schema(oid, oid) FROM PUBLIC;

-- The schema that an object of the catalogue lives in: its own, or that of the table, view, type or operator family
-- that it is part of. Null for what lives in no schema, such as a cast, a publication or an extension.
--
-- Every look-up names the catalogue that the number is of: object identifiers are unique within one catalogue only.
--
-- One branch is one cached query; a single expression with all of them would be set up whole for every object, of which
-- a tenant may have a million. It is called by functions that pin search_path, and inherits theirs.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._home_schema(classid oid, objid oid) RETURNS oid
LANGUAGE plpgsql STABLE
AS $function$
BEGIN
    CASE $1
        WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN
            RETURN (SELECT c.relnamespace FROM pg_catalog.pg_class AS c WHERE c.oid = $2);
        WHEN 'pg_catalog.pg_type'::pg_catalog.regclass THEN
            RETURN (SELECT y.typnamespace FROM pg_catalog.pg_type AS y WHERE y.oid = $2);
        WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN
            RETURN (SELECT p.pronamespace FROM pg_catalog.pg_proc AS p WHERE p.oid = $2);
        WHEN 'pg_catalog.pg_constraint'::pg_catalog.regclass THEN
            RETURN (SELECT k.connamespace FROM pg_catalog.pg_constraint AS k WHERE k.oid = $2);
        WHEN 'pg_catalog.pg_attrdef'::pg_catalog.regclass THEN
            RETURN (SELECT c.relnamespace FROM pg_catalog.pg_attrdef AS a
                    JOIN pg_catalog.pg_class AS c ON c.oid = a.adrelid WHERE a.oid = $2);
        WHEN 'pg_catalog.pg_rewrite'::pg_catalog.regclass THEN
            RETURN (SELECT c.relnamespace FROM pg_catalog.pg_rewrite AS u
                    JOIN pg_catalog.pg_class AS c ON c.oid = u.ev_class WHERE u.oid = $2);
        WHEN 'pg_catalog.pg_trigger'::pg_catalog.regclass THEN
            RETURN (SELECT c.relnamespace FROM pg_catalog.pg_trigger AS t
                    JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid WHERE t.oid = $2);
        WHEN 'pg_catalog.pg_policy'::pg_catalog.regclass THEN
            RETURN (SELECT c.relnamespace FROM pg_catalog.pg_policy AS p
                    JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid WHERE p.oid = $2);
        WHEN 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass THEN
            RETURN (SELECT s.stxnamespace FROM pg_catalog.pg_statistic_ext AS s WHERE s.oid = $2);
        WHEN 'pg_catalog.pg_operator'::pg_catalog.regclass THEN
            RETURN (SELECT o.oprnamespace FROM pg_catalog.pg_operator AS o WHERE o.oid = $2);
        WHEN 'pg_catalog.pg_opclass'::pg_catalog.regclass THEN
            RETURN (SELECT o.opcnamespace FROM pg_catalog.pg_opclass AS o WHERE o.oid = $2);
        WHEN 'pg_catalog.pg_opfamily'::pg_catalog.regclass THEN
            RETURN (SELECT o.opfnamespace FROM pg_catalog.pg_opfamily AS o WHERE o.oid = $2);
        WHEN 'pg_catalog.pg_amop'::pg_catalog.regclass THEN
            RETURN (SELECT f.opfnamespace FROM pg_catalog.pg_amop AS a
                    JOIN pg_catalog.pg_opfamily AS f ON f.oid = a.amopfamily WHERE a.oid = $2);
        WHEN 'pg_catalog.pg_amproc'::pg_catalog.regclass THEN
            RETURN (SELECT f.opfnamespace FROM pg_catalog.pg_amproc AS a
                    JOIN pg_catalog.pg_opfamily AS f ON f.oid = a.amprocfamily WHERE a.oid = $2);
        WHEN 'pg_catalog.pg_collation'::pg_catalog.regclass THEN
            RETURN (SELECT k.collnamespace FROM pg_catalog.pg_collation AS k WHERE k.oid = $2);
        WHEN 'pg_catalog.pg_conversion'::pg_catalog.regclass THEN
            RETURN (SELECT k.connamespace FROM pg_catalog.pg_conversion AS k WHERE k.oid = $2);
        WHEN 'pg_catalog.pg_ts_config'::pg_catalog.regclass THEN
            RETURN (SELECT k.cfgnamespace FROM pg_catalog.pg_ts_config AS k WHERE k.oid = $2);
        WHEN 'pg_catalog.pg_ts_dict'::pg_catalog.regclass THEN
            RETURN (SELECT k.dictnamespace FROM pg_catalog.pg_ts_dict AS k WHERE k.oid = $2);
        WHEN 'pg_catalog.pg_ts_parser'::pg_catalog.regclass THEN
            RETURN (SELECT k.prsnamespace FROM pg_catalog.pg_ts_parser AS k WHERE k.oid = $2);
        WHEN 'pg_catalog.pg_ts_template'::pg_catalog.regclass THEN
            RETURN (SELECT k.tmplnamespace FROM pg_catalog.pg_ts_template AS k WHERE k.oid = $2);
        ELSE RETURN NULL;
    END CASE;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._home_schema(oid, oid) FROM PUBLIC;

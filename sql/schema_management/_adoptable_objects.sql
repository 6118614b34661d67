-- What of a schema has an owner, with the schema left out: relations, types, routines, operators and their classes,
-- collations, conversions, text search and statistics. `moves` says whether it has to be given on by itself: a sequence
-- of a column goes with its table. What an extension brought stays with it and is left out. Found through pg_depend,
-- whose index knows schemas; indexes, row types, arrays and what else follows its table are not in it.
--
-- With `most` only so many entries there are looked at, after an object in the order of catalogues and identifiers: to
-- look at all for each batch would cost the square of their number.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._adoptable_objects(namespace oid, after_class oid DEFAULT 0,
                                                                    after_object oid DEFAULT 0,
                                                                    most integer DEFAULT NULL)
RETURNS TABLE (classid oid, objid oid, kind text, owner oid, moves boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH entry AS MATERIALIZED (
        SELECT d.classid, d.objid
        FROM pg_depend AS d
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace AND d.deptype = 'n'
          AND (d.classid, d.objid) > (after_class, after_object)
        ORDER BY d.classid, d.objid LIMIT most
    ), member AS MATERIALIZED (
        SELECT d.classid, d.objid
        FROM entry AS d
        WHERE NOT EXISTS (SELECT FROM pg_depend AS e
                          WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
    )
    SELECT m.classid, m.objid,
           CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                          WHEN 'f' THEN 'foreign table' ELSE 'table' END,
           c.relowner,
           c.relkind <> 'S' OR NOT EXISTS (SELECT FROM pg_depend AS o
                                           WHERE o.classid = m.classid AND o.objid = m.objid
                                             AND o.refclassid = m.classid AND o.refobjsubid > 0
                                             AND o.deptype IN ('a', 'i'))
    FROM member AS m
    JOIN pg_class AS c ON c.oid = m.objid
    WHERE m.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT m.classid, m.objid, CASE y.typtype WHEN 'm' THEN 'multirange' ELSE 'type' END, y.typowner, true
    FROM member AS m JOIN pg_type AS y ON y.oid = m.objid WHERE m.classid = 'pg_type'::regclass
    UNION ALL
    SELECT m.classid, m.objid, 'routine', p.proowner, true
    FROM member AS m JOIN pg_proc AS p ON p.oid = m.objid
    -- The constructors of a range type are the server's, and go with it.
    WHERE m.classid = 'pg_proc'::regclass
      AND NOT EXISTS (SELECT FROM pg_depend AS i
                      WHERE i.classid = m.classid AND i.objid = m.objid AND i.deptype = 'i')
    UNION ALL
    SELECT m.classid, m.objid, 'operator', o.oprowner, true
    FROM member AS m JOIN pg_operator AS o ON o.oid = m.objid WHERE m.classid = 'pg_operator'::regclass
    UNION ALL
    SELECT m.classid, m.objid, 'operator class', o.opcowner, true
    FROM member AS m JOIN pg_opclass AS o ON o.oid = m.objid WHERE m.classid = 'pg_opclass'::regclass
    UNION ALL
    SELECT m.classid, m.objid, 'operator family', o.opfowner, true
    FROM member AS m JOIN pg_opfamily AS o ON o.oid = m.objid WHERE m.classid = 'pg_opfamily'::regclass
    UNION ALL
    SELECT m.classid, m.objid, 'collation', k.collowner, true
    FROM member AS m JOIN pg_collation AS k ON k.oid = m.objid WHERE m.classid = 'pg_collation'::regclass
    UNION ALL
    SELECT m.classid, m.objid, 'conversion', k.conowner, true
    FROM member AS m JOIN pg_conversion AS k ON k.oid = m.objid WHERE m.classid = 'pg_conversion'::regclass
    UNION ALL
    SELECT m.classid, m.objid, 'text search configuration', k.cfgowner, true
    FROM member AS m JOIN pg_ts_config AS k ON k.oid = m.objid WHERE m.classid = 'pg_ts_config'::regclass
    UNION ALL
    SELECT m.classid, m.objid, 'text search dictionary', k.dictowner, true
    FROM member AS m JOIN pg_ts_dict AS k ON k.oid = m.objid WHERE m.classid = 'pg_ts_dict'::regclass
    UNION ALL
    SELECT m.classid, m.objid, 'statistics', s.stxowner, true
    FROM member AS m JOIN pg_statistic_ext AS s ON s.oid = m.objid WHERE m.classid = 'pg_statistic_ext'::regclass
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._adoptable_objects(oid, oid, oid, integer) FROM PUBLIC;

-- The last of the entries that it looks at then; nothing when there are none.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._last_entry(namespace oid, after_class oid, after_object oid,
                                                             most integer, OUT classid oid, OUT objid oid)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT e.classid, e.objid
    FROM (SELECT d.classid, d.objid
          FROM pg_depend AS d
          WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = namespace AND d.deptype = 'n'
            AND (d.classid, d.objid) > (after_class, after_object)
          ORDER BY d.classid, d.objid LIMIT most) AS e
    ORDER BY e.classid DESC, e.objid DESC LIMIT 1
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._last_entry(oid, oid, oid, integer) FROM PUBLIC;

-- The statement that gives an object of a schema, or a schema, to a role; null when it is gone.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._owner_statement(classid oid, objid oid, owner text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    IF $1 = 'pg_proc'::regclass THEN
        RETURN format('ALTER ROUTINE %s OWNER TO %I', edu_matrix_hub_schema._routine_name($2), $3);
    END IF;
    RETURN (SELECT format('ALTER %s %s OWNER TO %I',
                          CASE i.type WHEN 'statistics object' THEN 'STATISTICS' ELSE upper(i.type) END, i.identity, $3)
            FROM pg_identify_object($1, $2, 0) AS i WHERE i.identity IS NOT NULL);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._owner_statement(oid, oid, text) FROM PUBLIC;

-- Whether we can give on what a role owns: `ours` needs nothing, `take` a membership for as long as the transaction
-- lasts, which we may give ourselves, `grant` the right to do that, which a DBA gives, and `script` that a DBA gives
-- the objects to our role: so it is with superusers, roles of the server, of tenants and of the operator, and roles
-- that are themselves members of ours. On 15 CREATEROLE is enough.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._way_to_act_as(role oid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    ours CONSTANT oid := current_user::regrole::oid;
BEGIN
    RETURN (SELECT CASE
        WHEN r.oid = ours THEN 'ours'
        WHEN r.rolsuper OR r.oid < 16384 OR edu_matrix_hub_schema._is_of_the_operator(r.oid)
             OR pg_has_role(r.oid, ours, 'MEMBER') THEN 'script'
        WHEN pg_has_role(ours, r.oid, 'USAGE') THEN 'ours'
        WHEN current_setting('server_version_num')::integer < 160000
             OR EXISTS (SELECT FROM pg_auth_members AS m
                        WHERE m.roleid = r.oid AND m.member = ours AND m.admin_option) THEN 'take'
        ELSE 'grant' END
    FROM pg_roles AS r WHERE r.oid = $1);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._way_to_act_as(oid) FROM PUBLIC;

-- True for the roles that an installation stands on, and for those of its tenants.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._is_of_the_operator(role oid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    RETURN EXISTS (SELECT FROM edu_matrix_hub_schema.installation AS i
                   WHERE $1 IN (to_regrole(quote_ident(i.owner_role)), to_regrole(quote_ident(i.admin_role)),
                                to_regrole(quote_ident(i.operator_role)), i.connect_role_oid))
        OR EXISTS (SELECT FROM edu_matrix_hub_schema.role_keepers AS k
                   WHERE $1 IN (k.role_oid, k.connect_role_oid))
        OR EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                   WHERE $1 IN (t.owner_role_oid, t.reader_role_oid, t.writer_role_oid, t.deleter_role_oid)
                      OR $1 = ANY (t.login_oids))
        OR EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_adoptions AS a
                   WHERE $1 IN (a.owner_role_oid, a.reader_role_oid, a.writer_role_oid));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._is_of_the_operator(oid) FROM PUBLIC;

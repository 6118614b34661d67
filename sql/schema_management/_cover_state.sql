-- How tenants stand in row-level security: at how many objects there is something to do, and the first of it, how many
-- tables have our policies, and what reads or writes past them, the first five by name.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cover_state(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, due bigint, first text, table_count integer, uncovered jsonb, uncovered_count integer,
               forced text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT t.id, count(p.action) FILTER (WHERE p.action IN ('secure', 'take', 'give', 'note', 'forget')),
           array_to_string((array_agg(p.what ORDER BY array_position('{secure,take,give,note,forget}', p.action),
                                                      p.what)
                            FILTER (WHERE p.action IN ('secure', 'take', 'give', 'note', 'forget')))[:3], ', '),
           coalesce(max(p.detail #>> '{}') FILTER (WHERE p.action = 'covered'), '0')::integer,
           coalesce((SELECT jsonb_agg(jsonb_build_object('what', edu_matrix_hub_schema._cut(o.what),
                                                         'statement', edu_matrix_hub_schema._cut(o.statement))
                                      ORDER BY o.what)
                     FROM unnest((array_agg(p.what ORDER BY p.what) FILTER (WHERE p.action = 'open'))[:5],
                                 (array_agg(p.statement ORDER BY p.what) FILTER (WHERE p.action = 'open'))[:5])
                          AS o (what, statement)), '[]'),
           (count(*) FILTER (WHERE p.action = 'open'))::integer,
           coalesce((array_agg(edu_matrix_hub_schema._cut(p.statement) ORDER BY p.name)
                     FILTER (WHERE p.action = 'forced'))[:5], '{}')
    FROM unnest($1) AS t (id)
    LEFT JOIN edu_matrix_hub_schema._cover_plan($1) AS p ON p.schema_id = t.id
    GROUP BY t.id;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cover_state(uuid[]) FROM PUBLIC;

-- The tenants at which there is something to do, or for which something else is to be told than was found last; `first`
-- says what, for people.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._cover_drift(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, first text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT t.schema_id, t.first
    FROM edu_matrix_hub_schema._cover_state(ARRAY(
             SELECT s.schema_id FROM edu_matrix_hub_schema.tenant_row_security AS s WHERE s.schema_id = ANY ($1))) AS t
    JOIN edu_matrix_hub_schema.tenant_row_security AS s ON s.schema_id = t.schema_id
    WHERE t.due > 0 OR (t.table_count, t.uncovered, t.uncovered_count, t.forced)
                       IS DISTINCT FROM (s.table_count, s.uncovered, s.uncovered_count, s.forced);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._cover_drift(uuid[]) FROM PUBLIC;

-- What row-level security is about in a schema. Of its catalogue rows the planner expects one, and would compare every
-- table with every other; a function that says how many there may be keeps it from that.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._objects_of(namespace oid)
RETURNS TABLE (object_oid oid, is_routine boolean)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT d.objid, d.classid = 'pg_proc'::regclass
    FROM pg_depend AS d
    LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1
      AND (d.classid = 'pg_proc'::regclass OR c.relkind IN ('r', 'p', 'v', 'm', 'f'))
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._objects_of(oid) FROM PUBLIC;

-- What ends with a tenant by the word of those that have, or had, a grant of it: their views, materialized views and
-- functions with SQL-standard bodies that depend on something in its schema, and such of the same tenants that depend
-- on these. Each is one number (_whole_key) with the tenant that has it, and its own number for the order in which they
-- were made; `what` depends on one of them, is nothing of the kind, and has a name only.
--
-- A tenant agrees for what is in its own schema and belongs to its own owner role. What else depends on the schema
-- itself is _outside_dependents's, and what in the schema depends on one of these is taken away with its references.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._grantee_dependents(grantor_id uuid, namespace oid)
RETURNS TABLE (key bigint, grantee uuid, what text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    found    bigint[] := '{}'::bigint[];
    grantees uuid[] := '{}'::uuid[];
    frontier bigint[];
    ours     record;
BEGIN
    IF (SELECT t.granted_to FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = grantor_id) = '{}'
       OR NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = 'pg_namespace'::regclass
                        AND d.refobjid = namespace AND d.classid <> 'pg_default_acl'::regclass) THEN
        RETURN;
    END IF;
    SELECT coalesce(array_agg(DISTINCT k.key), '{}') INTO frontier
    FROM edu_matrix_hub_schema._schema_members(namespace) AS m
    JOIN pg_depend AS d ON d.refclassid = m.classid AND d.refobjid = m.objid
    CROSS JOIN LATERAL (SELECT CASE d.classid
        WHEN 'pg_rewrite'::regclass THEN (SELECT u.ev_class FROM pg_rewrite AS u WHERE u.oid = d.objid)
        WHEN 'pg_attrdef'::regclass THEN (SELECT a.adrelid FROM pg_attrdef AS a WHERE a.oid = d.objid)
        WHEN 'pg_trigger'::regclass THEN (SELECT t.tgrelid FROM pg_trigger AS t WHERE t.oid = d.objid)
        WHEN 'pg_class'::regclass THEN d.objid END AS relation) AS r
    -- Most depend on their neighbours, and are sorted out before a function is called for each.
    LEFT JOIN pg_class AS c ON c.oid = r.relation
    LEFT JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    CROSS JOIN LATERAL (SELECT edu_matrix_hub_schema._whole_key(d.classid, d.objid) AS key) AS k
    WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_attrdef'::regclass, 'pg_trigger'::regclass, 'pg_class'::regclass,
                        'pg_proc'::regclass)
      AND (c.relnamespace <> namespace AND c.relkind IN ('v', 'm') OR p.pronamespace <> namespace);
    -- A layer at a time: what was found last, and what depends on that.
    WHILE frontier <> '{}' LOOP
        SELECT coalesce(array_agg(o.key), '{}') AS keys, coalesce(array_agg(o.grantee), '{}') AS grantees INTO ours
        FROM edu_matrix_hub_schema._agreed(grantor_id, frontier) AS o;
        found := found || ours.keys;
        grantees := grantees || ours.grantees;
        -- What others made over the schema itself is not followed, and neither is what is in it.
        SELECT coalesce(array_agg(DISTINCT k.key), '{}') INTO frontier
        FROM edu_matrix_hub_schema._leaning_on(ours.keys) AS k
        WHERE k.key <> ALL (found) AND k.home IS DISTINCT FROM namespace;
    END LOOP;
    RETURN QUERY
    SELECT f.key, f.grantee, NULL::text FROM unnest(found, grantees) AS f (key, grantee)
    UNION ALL
    SELECT DISTINCT NULL::bigint, NULL::uuid,
           edu_matrix_hub_schema._cut((pg_identify_object((k.key >> 32)::oid, (k.key & 4294967295)::oid, 0)).identity)
    FROM edu_matrix_hub_schema._leaning_on(found) AS k
    WHERE k.key <> ALL (found) AND k.home IS DISTINCT FROM namespace;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._grantee_dependents(uuid, oid) FROM PUBLIC;

-- Catalogue and number of an object in one number; of what is part of a view or materialized view, such as its rule,
-- its row type, an index, a default or a trigger, it is the view's. Numbers of catalogues are small.
--
-- It is called by functions that pin search_path, and inherits theirs; as PL/pgSQL it keeps its plans.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._whole_key(classid oid, objid oid) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $function$
DECLARE
    relation oid;
BEGIN
    CASE $1
        WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN
            relation := coalesce((SELECT i.indrelid FROM pg_catalog.pg_index AS i WHERE i.indexrelid = $2), $2);
        WHEN 'pg_catalog.pg_rewrite'::pg_catalog.regclass THEN
            relation := (SELECT u.ev_class FROM pg_catalog.pg_rewrite AS u WHERE u.oid = $2);
        WHEN 'pg_catalog.pg_attrdef'::pg_catalog.regclass THEN
            relation := (SELECT a.adrelid FROM pg_catalog.pg_attrdef AS a WHERE a.oid = $2);
        WHEN 'pg_catalog.pg_trigger'::pg_catalog.regclass THEN
            relation := (SELECT t.tgrelid FROM pg_catalog.pg_trigger AS t WHERE t.oid = $2);
        WHEN 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass THEN
            relation := (SELECT s.stxrelid FROM pg_catalog.pg_statistic_ext AS s WHERE s.oid = $2);
        WHEN 'pg_catalog.pg_type'::pg_catalog.regclass THEN
            relation := (SELECT coalesce(nullif(y.typrelid, 0), e.typrelid) FROM pg_catalog.pg_type AS y
                         LEFT JOIN pg_catalog.pg_type AS e ON e.oid = y.typelem AND e.typarray = y.oid
                         WHERE y.oid = $2);
        ELSE NULL;
    END CASE;
    IF (SELECT c.relkind IN ('v', 'm') FROM pg_catalog.pg_class AS c WHERE c.oid = relation) THEN
        RETURN ('pg_catalog.pg_class'::pg_catalog.regclass::oid::bigint << 32) | relation::bigint;
    END IF;
    RETURN ($1::bigint << 32) | $2::bigint;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._whole_key(oid, oid) FROM PUBLIC;

-- Which of these objects end with the grantor by the word of a tenant, and of which. It keeps one plan, since it is
-- called for each layer of a chain that a tenant may make as long as it likes.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._agreed(grantor_id uuid, keys bigint[])
RETURNS TABLE (key bigint, grantee uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
    RETURN QUERY
    SELECT o.number, t.id
    FROM (SELECT k.number, c.relnamespace AS namespace, c.relowner AS owner
          FROM unnest($2) AS k (number)
          JOIN pg_class AS c ON c.oid = (k.number & 4294967295)::oid AND c.relkind IN ('v', 'm')
          WHERE (k.number >> 32)::oid = 'pg_class'::regclass
          UNION ALL
          SELECT k.number, p.pronamespace, p.proowner
          FROM unnest($2) AS k (number)
          JOIN pg_proc AS p ON p.oid = (k.number & 4294967295)::oid AND p.prosqlbody IS NOT NULL
          WHERE (k.number >> 32)::oid = 'pg_proc'::regclass) AS o
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.schema_oid = o.namespace AND t.owner_role_oid = o.owner
      AND t.id = ANY ((SELECT g.granted_to FROM edu_matrix_hub_schema.tenant_schemas AS g WHERE g.id = $1)::uuid[])
    JOIN pg_namespace AS n ON n.oid = t.schema_oid AND n.nspname = t.schema_name
    WHERE t.status <> 'dropped' AND t.id <> $1
      AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = (o.number >> 32)::oid
                        AND e.objid = (o.number & 4294967295)::oid AND e.deptype = 'e');
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._agreed(uuid, bigint[]) FROM PUBLIC;

-- What ends with a tenant, and the names of what keeps it, all as it was at one moment: a tenant that makes and drops a
-- view again and again has it in one of the two, or in neither. Both are empty unless more than `beyond` end with it.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._ending(grantor_id uuid, namespace oid, beyond integer,
                                                         OUT keys bigint[], OUT others text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    SELECT coalesce(array_agg(d.key ORDER BY d.key & 4294967295 DESC) FILTER (WHERE d.key IS NOT NULL), '{}'),
           coalesce(array_agg(d.what) FILTER (WHERE d.what IS NOT NULL), '{}')
    INTO keys, others
    FROM edu_matrix_hub_schema._grantee_dependents(grantor_id, namespace) AS d;
    IF cardinality(keys) <= beyond THEN
        keys := '{}';
        others := '{}';
        RETURN;
    END IF;
    others := others || ARRAY(SELECT o.name
        FROM edu_matrix_hub_schema._outside_dependents(namespace, NULL, NULL, keys) AS o (name)
        WHERE o.name IS NOT NULL);
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._ending(uuid, oid, integer) FROM PUBLIC;

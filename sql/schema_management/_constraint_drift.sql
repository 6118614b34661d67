-- Foreign keys by which tenants refer to the tables of some others that let them do so once, and do so no more: by the
-- grantee's own word they end with the grant. A row says the key, the statement that drops it, and as which role,
-- through which keeper; one that is not the owner role's is not ours to drop. Keys that a tenant made without a grant,
-- as with a right that a superuser gave, are none of these, and neither are those of roles that are no tenants': they
-- stand in the way of a deletion like any other dependent. A hundred for a tenant; a further row (`grant_part`) stands
-- for the rest.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._constraint_drift(schema_ids uuid[])
RETURNS TABLE (schema_id uuid, kind text, what text, repairable boolean, statement text, role_name text,
               grantee_id uuid, helper integer)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
SET jit = off  -- Compiling this takes longer than running it.
AS $function$
    WITH ended AS MATERIALIZED (
        SELECT w.schema_id, w.grantee_id, t.schema_oid AS target, o.schema_oid, o.owner_role, o.owner_role_oid, o.keeper
        FROM edu_matrix_hub_schema.referring_tenants AS w
        JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = w.schema_id AND t.status IN ('active', 'suspended')
        JOIN edu_matrix_hub_schema.tenant_schemas AS o ON o.id = w.grantee_id AND o.status <> 'dropped'
        JOIN pg_namespace AS n ON n.oid = o.schema_oid AND n.nspname = o.schema_name
        WHERE w.schema_id = ANY ($1)
          AND NOT EXISTS (SELECT FROM edu_matrix_hub_schema.tenant_grant_targets AS g
                          WHERE g.schema_id = w.schema_id AND g.grantee_id = w.grantee_id AND g.referring IS NOT NULL)
    ), named AS (
        -- By the index on the schema of a constraint; there is none on the table that it refers to.
        SELECT e.schema_id, e.grantee_id, e.owner_role, e.keeper, c.relowner = e.owner_role_oid AS is_own,
               format('%I.%I', n.nspname, c.relname) AS of_table, p.relname AS to_table, k.conname,
               row_number() OVER (PARTITION BY e.schema_id ORDER BY k.oid) AS n
        FROM ended AS e
        JOIN pg_constraint AS k ON k.connamespace = e.schema_oid AND k.contype = 'f' AND k.conparentid = 0
        JOIN pg_class AS p ON p.oid = k.confrelid AND p.relnamespace = e.target
        JOIN pg_class AS c ON c.oid = k.conrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
    )
    SELECT k.schema_id, CASE WHEN k.n > 100 THEN 'grant_part' ELSE 'grant' END,
           format('grants: foreign key %s.%I refers to table %s, and no grant says so', k.of_table, k.conname,
                  k.to_table), k.is_own,
           format('ALTER TABLE %s DROP CONSTRAINT %I', k.of_table, k.conname), k.owner_role, k.grantee_id, k.keeper
    FROM named AS k
    WHERE k.n <= 101
    ORDER BY k.schema_id, k.n
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._constraint_drift(uuid[]) FROM PUBLIC;

-- Drops such a foreign key as a member of its owner's role, and notes in the grantee's log how to make it again. There
-- is no expression of a tenant in what is run. A grantee that another call is at work on keeps its keys for the moment.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._end_reference(grantee uuid, statement text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    started CONSTANT timestamptz := clock_timestamp();
    remake  text;
BEGIN
    IF NOT edu_matrix_hub_schema._tenant_lock(grantee, 'access', true) THEN
        RAISE EXCEPTION 'another call is at work on the tenant whose foreign key this is'
            USING ERRCODE = 'lock_not_available';
    END IF;
    SELECT format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname,
                  pg_get_constraintdef(k.oid))
    INTO remake
    FROM edu_matrix_hub_schema.tenant_schemas AS t
    JOIN pg_constraint AS k ON k.connamespace = t.schema_oid AND k.contype = 'f' AND k.conparentid = 0
    JOIN pg_class AS c ON c.oid = k.conrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.id = grantee
      AND format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname) = statement;
    PERFORM edu_matrix_hub_schema._grant_tenant_owner(grantee);
    EXECUTE statement;
    PERFORM edu_matrix_hub_schema._revoke_tenant_owner(grantee);
    PERFORM edu_matrix_hub_schema._log(grantee, 'end_reference', 'success', NULL, started,
        'drop a foreign key whose grant has ended: ' || statement, jsonb_build_object('remake', remake));
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._end_reference(uuid, text) FROM PUBLIC;

-- The role keeper for a new tenant: null on PostgreSQL 15, else an open one with room. When it is full, one
-- transaction at a time makes the next; others meanwhile go on with the full one, since waiting would cost more than
-- a few roles too many. They wait when it has twice as many as it should: the more roles there are, the longer it takes
-- to make the next.
--
-- The two numbers were measured: smaller keepers cost more for making keepers, larger ones more for each
-- of their roles.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._choose_role_keeper() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    tenants_per_keeper CONSTANT integer := 32;
    keepers_per_parent CONSTANT integer := 32;
    chosen integer;
    kept   bigint;
    parent integer;
BEGIN
    IF current_setting('server_version_num')::integer < 160000 THEN
        RETURN NULL;
    END IF;
    SELECT k.n, (SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.keeper = k.n) INTO chosen, kept
    FROM edu_matrix_hub_schema.role_keepers AS k
    WHERE k.is_open AND k.parent IS NOT NULL
    ORDER BY k.n LIMIT 1;
    IF kept < tenants_per_keeper THEN
        RETURN chosen;
    ELSIF chosen IS NOT NULL THEN
        PERFORM FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = 'role_keepers' FOR UPDATE SKIP LOCKED;
        IF NOT FOUND AND kept < 2 * tenants_per_keeper THEN
            RETURN chosen;
        END IF;
    END IF;

    PERFORM FROM edu_matrix_hub_schema.registry_locks AS l WHERE l.name = 'role_keepers' FOR UPDATE;
    -- Looked at again under the lock: the session that held it before may have made the next keeper.
    UPDATE edu_matrix_hub_schema.role_keepers AS k SET is_open = false WHERE k.n = chosen;
    SELECT k.n INTO chosen
    FROM edu_matrix_hub_schema.role_keepers AS k
    WHERE k.is_open AND k.parent IS NOT NULL
    ORDER BY k.n LIMIT 1;
    IF chosen IS NULL THEN
        SELECT k.n INTO parent
        FROM edu_matrix_hub_schema.role_keepers AS k
        WHERE k.parent IS NULL
          AND (SELECT count(*) FROM edu_matrix_hub_schema.role_keepers AS child
               WHERE child.parent = k.n) < keepers_per_parent
        ORDER BY k.n LIMIT 1;
        IF parent IS NULL THEN
            parent := edu_matrix_hub_schema._new_role_keeper(NULL);
        END IF;
        chosen := edu_matrix_hub_schema._new_role_keeper(parent);
    END IF;
    RETURN chosen;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._choose_role_keeper() FROM PUBLIC;

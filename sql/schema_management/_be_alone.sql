-- Refuses to take anything away while two operators want this database: `lane_contested` while another one asks for the
-- lane of a holder that is at work, `busy` in the first seconds after the lane was claimed from one that had just been
-- heard of. A person says which of the two is right; until then nothing is lost.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._be_alone() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
DECLARE
    contest CONSTANT jsonb := edu_matrix_hub_schema._contest();
    settled timestamptz;
BEGIN
    IF contest IS NOT NULL THEN
        PERFORM edu_matrix_hub_schema._refuse('lane_contested',
            format('two operators want this database (%s and %s), and nothing is taken away until one of them is alone',
                   contest #>> '{holder,holder}', contest #>> '{contender,holder}'), contest);
    END IF;
    SELECT i.unsettled_until INTO settled FROM edu_matrix_hub_schema.installation AS i;
    IF settled > clock_timestamp() THEN
        PERFORM edu_matrix_hub_schema._refuse('busy',
            'the operator that held this database before was heard of a moment ago; '
            'whether it is gone is known in a few seconds');
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._be_alone() FROM PUBLIC;

-- The process that holds the lane, and where it is: {holder, cluster, tenant_database, lease, from, claim_id}.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._holder() RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT jsonb_build_object('holder', i.holder, 'cluster', i.cluster,
                              'tenant_database', i.tenant_database, 'lease', i.lease,
                              'from', i.claimed_from, 'claim_id', i.claim_id)
    FROM edu_matrix_hub_schema.installation AS i
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._holder() FROM PUBLIC;

-- The holder of the lane, and the other operator that asked for it within the last 30 seconds: {holder, contender}, or
-- null.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._contest() RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT jsonb_build_object('holder', edu_matrix_hub_schema._holder(), 'contender', i.contested_by)
    FROM edu_matrix_hub_schema.installation AS i
    WHERE i.contested_at BETWEEN clock_timestamp() - interval '30 s' AND clock_timestamp() + interval '30 s'
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._contest() FROM PUBLIC;

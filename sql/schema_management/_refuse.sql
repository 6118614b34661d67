-- Ends the work of a call with a reasoned refusal: SQLSTATE TS001, the reason and further details as JSON in DETAIL.
-- The sub-block of the calling function catches it like any error, so that its work is undone, and hands it to
-- _failure(), which turns it into an answer.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._refuse(reason text, message text, detail jsonb DEFAULT '{}')
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'TS001',
        MESSAGE = _refuse.message,
        DETAIL = (coalesce(_refuse.detail, '{}') || jsonb_build_object('reason', _refuse.reason))::text;
END
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._refuse(text, text, jsonb) FROM PUBLIC;

-- Whether the logins in use have the passwords that their Secrets have. A session may change the password of its own
-- login; then no application comes in any more, and the one that changed it does. Neither the verifier can be read, but
-- by a superuser, nor is the password kept, so the operator asks as a client does: before a password is due the server
-- tells the salt of the login's, which is another one with each password. It is no proof: who changes a password to
-- shut the operator out of this can give it the same salt, and has the login until the next rotation either way.

-- Names up to ten logins to try, those first that were never tried, then those whose turn is longest ago: [{schema_id,
-- purpose, login, credential_id}...]. A closed tenant's turn passes. The survey after this one is told of the salts.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._passwords_to_try(started timestamptz) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH turn AS (
        UPDATE edu_matrix_hub_schema.tenant_credentials AS c SET tried_at = started
        WHERE (c.schema_id, c.purpose) IN (
            SELECT n.schema_id, n.purpose FROM edu_matrix_hub_schema.tenant_credentials AS n
            ORDER BY n.tried_at NULLS FIRST LIMIT 10 FOR UPDATE SKIP LOCKED)
        RETURNING c.schema_id, c.purpose, c.login, c.credential_id, c.salt, c.withdrawn_at
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('schema_id', c.schema_id, 'purpose', c.purpose, 'login', c.login,
                                                 'credential_id', c.credential_id)), '[]')
    FROM turn AS c
    JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = c.schema_id
    WHERE t.status = 'active' AND t.access <> 'Suspended' AND c.withdrawn_at IS NULL AND c.salt IS NOT NULL
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._passwords_to_try(timestamptz) FROM PUBLIC;

-- Notes what the server told of them: [{schema_id, purpose, credential_id, salt}...]. A password has changed if it had
-- our salt once and has another now: a pooler may tell a salt of its own, and must not make the operator issue one
-- password after the other. What was issued meanwhile is another credential.
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._note_salts(salts jsonb) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    WITH found AS (
        SELECT c.schema_id, c.purpose, n.salt_seen, n.password_changed
        FROM jsonb_to_recordset(salts) AS f (schema_id uuid, purpose text, credential_id uuid, salt text)
        JOIN edu_matrix_hub_schema.tenant_credentials AS c
          ON c.schema_id = f.schema_id AND c.purpose = f.purpose AND c.credential_id = f.credential_id
        CROSS JOIN LATERAL (SELECT c.salt_seen OR c.salt = f.salt AS salt_seen,
                                   c.salt_seen AND c.salt <> f.salt AS password_changed) AS n
        WHERE (n.salt_seen, n.password_changed) <> (c.salt_seen, c.password_changed)
        FOR UPDATE OF c SKIP LOCKED
    ), noted AS (
        UPDATE edu_matrix_hub_schema.tenant_credentials AS c
        SET salt_seen = f.salt_seen, password_changed = f.password_changed
        FROM found AS f WHERE f.schema_id = c.schema_id AND f.purpose = c.purpose
        RETURNING c.schema_id, c.password_changed
    )
    UPDATE edu_matrix_hub_schema.tenant_schemas AS t SET reported = NULL
    WHERE t.id IN (SELECT s.id FROM edu_matrix_hub_schema.tenant_schemas AS s
                   JOIN noted AS n ON n.schema_id = s.id AND n.password_changed
                   FOR UPDATE OF s SKIP LOCKED)
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema._note_salts(jsonb) FROM PUBLIC;

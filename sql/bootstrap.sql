-- Makes the three roles that an installation stands on, once per server, and gives one of them its rights in this
-- database. It may be run again, and in several databases of one server.
--
--   * the owner role (setting edu_matrix.owner_role) owns registry and functions. It cannot log in; it needs
--     CREATEROLE, since the roles of the tenants are made by functions that it owns, and on the database CREATE, and
--     CONNECT to give on to their logins.
--   * the operator role (named after it: X_owner gives X_operator) may call every function. The operator's login is its
--     only member, since what may act for every tenant can let itself in to every tenant.
--   * the admin role (X_admin) may call the functions for people, and observe. Logins of people and of applications
--     become members of it.
--
-- It is run by a superuser, or by a login with CREATEROLE that owns the database. Such a login becomes a member of the
-- owner and the operator role, and can then install, upgrade and call the functions; a superuser needs no membership
-- and gets none.
--
-- Every grant is read back, because a GRANT without the right to give it may only warn. What is missing is named in the
-- error, together with the statement that a person with more rights has to run; nothing remains of a failed run.
-- NOSUPERUSER, NOREPLICATION and NOBYPASSRLS are never written: managed services refuse them, even as a negation.
DO $bootstrap$
DECLARE
    owner_role    CONSTANT text := pg_catalog.current_setting('edu_matrix.owner_role');
    stem          CONSTANT text := pg_catalog.regexp_replace(owner_role, '_owner$', '');
    admin_role    CONSTANT text := stem || '_admin';
    -- Cut, since an owner role may have had 57 bytes before there was an operator role.
    operator_role CONSTANT text := pg_catalog.left(stem, 54) || '_operator';
    modern        CONSTANT boolean := pg_catalog.current_setting('server_version_num')::integer >= 160000;
    login         CONSTANT text := current_user;
    database      CONSTANT text := pg_catalog.current_database();
    privileged    CONSTANT boolean := (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user);
    candidate     record;
    problem       text;
BEGIN
    IF owner_role = '' OR pg_catalog.octet_length(owner_role) > 57 OR pg_catalog.octet_length(operator_role) > 63
       OR owner_role LIKE 'pg|_%' ESCAPE '|' THEN
        RAISE EXCEPTION 'the owner role cannot be called "%": a name of 1 to 57 bytes that does not begin with pg_ '
                        'is needed', owner_role;
    END IF;

    FOR candidate IN
        SELECT w.name, w.creates_roles, r.rolname IS NOT NULL AS stands, r.rolsuper, r.rolcanlogin,
               r.rolcreaterole AND r.rolinherit AS is_able
        FROM (VALUES (1, owner_role, true), (2, admin_role, false), (3, operator_role, false))
             AS w (position, name, creates_roles)
        LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = w.name
        ORDER BY w.position
    LOOP
        IF candidate.stands AND (candidate.rolsuper OR candidate.rolcanlogin) THEN
            -- Functions that belong to such a role would lend its power to every role that may call them.
            RAISE EXCEPTION 'role "%" stands already and is a superuser or may log in; choose another owner role',
                candidate.name;
        END IF;
        BEGIN
            IF NOT candidate.stands THEN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN%s', candidate.name,
                                          CASE WHEN candidate.creates_roles THEN ' CREATEROLE' ELSE '' END);
            ELSIF candidate.creates_roles AND NOT candidate.is_able THEN
                EXECUTE pg_catalog.format('ALTER ROLE %I CREATEROLE INHERIT', candidate.name);
            END IF;
        EXCEPTION
            -- Roles belong to the server: another database's bootstrap may have been a moment faster.
            WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
        END;
    END LOOP;

    -- A grant that the login may not give could only fail or warn; reading back below says what is missing.
    IF EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = owner_role) THEN
        IF (privileged OR pg_catalog.has_database_privilege(login, database, 'CREATE WITH GRANT OPTION'))
           AND NOT pg_catalog.has_database_privilege(owner_role, database, 'CREATE') THEN
            EXECUTE pg_catalog.format('GRANT CREATE ON DATABASE %I TO %I', database, owner_role);
        END IF;
        IF (privileged OR pg_catalog.has_database_privilege(login, database, 'CONNECT WITH GRANT OPTION'))
           AND NOT pg_catalog.has_database_privilege(owner_role, database, 'CONNECT WITH GRANT OPTION') THEN
            EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I WITH GRANT OPTION', database, owner_role);
        END IF;
    END IF;

    IF NOT privileged THEN
        -- The login takes the owner role on only to install (SET), and may call the functions at any time (INHERIT).
        BEGIN
            IF NOT pg_catalog.pg_has_role(login, owner_role, CASE WHEN modern THEN 'SET' ELSE 'MEMBER' END) THEN
                EXECUTE pg_catalog.format('GRANT %I TO %I', owner_role, login)
                        || CASE WHEN modern THEN ' WITH SET TRUE, INHERIT FALSE' ELSE '' END;
            END IF;
        EXCEPTION WHEN insufficient_privilege OR undefined_object OR invalid_grant_operation THEN NULL;
        END;
        BEGIN
            IF NOT pg_catalog.pg_has_role(login, operator_role, 'USAGE') THEN
                EXECUTE pg_catalog.format('GRANT %I TO %I', operator_role, login)
                        || CASE WHEN modern THEN ' WITH INHERIT TRUE' ELSE '' END;
            END IF;
        EXCEPTION WHEN insufficient_privilege OR undefined_object OR invalid_grant_operation THEN NULL;
        END;
    END IF;

    -- Reading back, in the order in which a DBA would run the missing statements.
    SELECT CASE
        WHEN o.rolname IS NULL THEN
            pg_catalog.format('role %1$I does not exist and "%2$s" cannot create it: '
                              'CREATE ROLE %1$I NOLOGIN CREATEROLE', owner_role, login)
        WHEN NOT (o.rolcreaterole AND o.rolinherit) THEN
            pg_catalog.format('role %1$I lacks CREATEROLE or INHERIT and "%2$s" cannot give it: '
                              'ALTER ROLE %1$I CREATEROLE INHERIT', owner_role, login)
        WHEN a.rolname IS NULL OR r.rolname IS NULL THEN
            pg_catalog.format('role %1$I does not exist and "%2$s" cannot create it: CREATE ROLE %1$I NOLOGIN',
                              CASE WHEN a.rolname IS NULL THEN admin_role ELSE operator_role END, login)
        WHEN NOT pg_catalog.has_database_privilege(o.oid, database, 'CREATE') THEN
            pg_catalog.format('role %2$I lacks CREATE on this database and "%3$s" cannot give it: '
                              'GRANT CREATE ON DATABASE %1$I TO %2$I', database, owner_role, login)
        WHEN NOT pg_catalog.has_database_privilege(o.oid, database, 'CONNECT WITH GRANT OPTION') THEN
            pg_catalog.format('role %2$I may not give CONNECT on this database to others and "%3$s" cannot allow it: '
                              'GRANT CONNECT ON DATABASE %1$I TO %2$I WITH GRANT OPTION', database, owner_role, login)
        WHEN NOT privileged AND NOT pg_catalog.pg_has_role(login, o.oid,
                                                           CASE WHEN modern THEN 'SET' ELSE 'MEMBER' END) THEN
            pg_catalog.format('"%2$s" cannot become %1$I: GRANT %1$I TO %2$I', owner_role, login)
            || CASE WHEN modern THEN ' WITH SET TRUE, INHERIT FALSE' ELSE '' END
        WHEN NOT privileged AND NOT pg_catalog.pg_has_role(login, r.oid, 'USAGE') THEN
            CASE WHEN modern
                 THEN pg_catalog.format('"%2$s" is not a member of %1$I with its privileges: '
                                        'GRANT %1$I TO %2$I WITH INHERIT TRUE', operator_role, login)
                 WHEN pg_catalog.pg_has_role(login, r.oid, 'MEMBER')
                 THEN pg_catalog.format('"%2$s" is a member of %1$I without its privileges: ALTER ROLE %2$I INHERIT',
                                        operator_role, login)
                 ELSE pg_catalog.format('"%2$s" is not a member of %1$I: GRANT %1$I TO %2$I', operator_role, login) END
        END
    INTO problem
    FROM (VALUES (1)) AS one (row)
    LEFT JOIN pg_catalog.pg_roles AS o ON o.rolname = owner_role
    LEFT JOIN pg_catalog.pg_roles AS a ON a.rolname = admin_role
    LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = operator_role;

    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = 'cannot prepare database "' || database || '": ' || problem,
            HINT = 'Run the statement as a role that may, or the whole script as a superuser.';
    END IF;
END
$bootstrap$;

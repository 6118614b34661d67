-- What apartment makes of a tenant: schema.rb is loaded into a schema that is called after the subdomain. Keys are
-- bigserial, there are an enum and a view, and the tables of Rails itself.
CREATE TABLE plans (id bigserial PRIMARY KEY, name character varying NOT NULL);
CREATE SCHEMA "South.School";
SET search_path = "South.School", shared;
CREATE TYPE role_kind AS ENUM ('pupil', 'teacher');
CREATE TABLE schema_migrations (version character varying NOT NULL PRIMARY KEY);
CREATE TABLE ar_internal_metadata (key character varying NOT NULL PRIMARY KEY, value character varying,
    created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE TABLE users (id bigserial PRIMARY KEY, email character varying DEFAULT '' NOT NULL,
    role role_kind DEFAULT 'pupil' NOT NULL, created_at timestamp(6) NOT NULL DEFAULT now());
CREATE UNIQUE INDEX index_users_on_email ON users USING btree (email);
CREATE TABLE enrolments (id bigserial PRIMARY KEY, user_id bigint NOT NULL, course character varying,
    preferences jsonb DEFAULT '{}');
ALTER TABLE ONLY enrolments ADD CONSTRAINT fk_rails_e860e0e46b FOREIGN KEY (user_id)
    REFERENCES users(id) ON DELETE CASCADE;
CREATE INDEX index_enrolments_on_user_id ON enrolments USING btree (user_id);
CREATE VIEW teachers AS SELECT id, email FROM users WHERE role = 'teacher';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.created_at := now(); RETURN NEW; END $$;
CREATE TRIGGER users_touch BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION touch();
INSERT INTO users (email, role) VALUES ('ada@example.org', 'teacher');
INSERT INTO enrolments (user_id, course) VALUES (1, 'Sums');

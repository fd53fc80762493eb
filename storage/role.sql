-- The database optevo and a role that can use it and nothing else. Run once by an administrator:
--
--   OPTEVO_PASSWORD_FILE=secrets/optevo_password psql -h HOST -U postgres -f storage/role.sql
--
-- The role may connect to this one database and create tables in one schema of it. It cannot create databases or roles,
-- read files of the server or other databases, or write to the schema that all share.
\set ON_ERROR_STOP on
\set password `cat "$OPTEVO_PASSWORD_FILE"`
SELECT :'password' = '' AS nothing \gset
\if :nothing
DO $$BEGIN RAISE 'OPTEVO_PASSWORD_FILE names no readable file that holds a password'; END$$;
\endif

-- A statement that fails is written to the server's log, and this one holds the password.
SET log_min_error_statement = panic;
SET log_statement = none;
SET password_encryption = 'scram-sha-256';
CREATE ROLE optevo LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';

CREATE DATABASE optevo;
REVOKE ALL ON DATABASE optevo FROM PUBLIC;
GRANT CONNECT ON DATABASE optevo TO optevo;
-- PostgreSQL lets every role connect to every database; other databases here say for themselves who may.
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
ALTER ROLE optevo IN DATABASE optevo SET search_path = optevo;

\connect optevo
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA optevo;
GRANT USAGE, CREATE ON SCHEMA optevo TO optevo;

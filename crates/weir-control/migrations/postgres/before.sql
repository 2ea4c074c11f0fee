-- Before any migration. Repeated harmlessly.
CREATE SCHEMA IF NOT EXISTS weir;
SET search_path = weir;
SET client_min_messages = warning;

-- The role that the application takes in every transaction. It owns nothing and logs in nowhere.
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'weir_app') THEN
        CREATE ROLE weir_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
EXCEPTION
    -- Another database of this server did it at the same moment.
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

DO $$
BEGIN
    -- From version 16 on, who made a role may administer it, but not take it.
    IF NOT pg_has_role(current_user, 'weir_app',
        CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE format('GRANT weir_app TO %I', current_user);
    END IF;
EXCEPTION
    WHEN unique_violation THEN NULL;
END
$$;

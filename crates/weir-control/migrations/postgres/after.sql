-- After the migrations. Repeated harmlessly: what a new table needs, it gets here.
GRANT USAGE ON SCHEMA weir TO weir_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA weir TO weir_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA weir TO weir_app;
REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations FROM weir_app;

-- A tenant sees its own rows; '*' stands for what the system does by itself over all tenants.
-- Without a setting every statement fails.
DO $$
DECLARE
    found RECORD;
BEGIN
    FOR found IN
        SELECT c.oid, c.relname FROM pg_class c
        WHERE c.relnamespace = 'weir'::regnamespace AND c.relkind IN ('r', 'p')
          AND EXISTS (SELECT 1 FROM pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped)
          AND NOT EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'own_tenant')
    LOOP
        EXECUTE format('ALTER TABLE weir.%I ENABLE ROW LEVEL SECURITY', found.relname);
        EXECUTE format('ALTER TABLE weir.%I FORCE ROW LEVEL SECURITY', found.relname);
        EXECUTE format(
            'CREATE POLICY own_tenant ON weir.%I USING (current_setting(''weir.tenant'') IN (tenant, ''*''))',
            found.relname);
    END LOOP;
END
$$;

-- The application adds to the audit trail, and takes what is too old by audit_prune alone.
DO $$
BEGIN
    IF to_regclass('weir.audit') IS NOT NULL THEN
        REVOKE UPDATE, DELETE ON audit FROM weir_app;
        REVOKE UPDATE ON audit_personal, audit_seals FROM weir_app;
        REVOKE DELETE ON audit_heads FROM weir_app;
        REVOKE ALL ON FUNCTION audit_prune(TEXT, BIGINT) FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION audit_prune(TEXT, BIGINT) TO weir_app;
    END IF;
END
$$;

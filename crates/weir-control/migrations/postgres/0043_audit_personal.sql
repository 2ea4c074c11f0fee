-- Each record asked once more whether it is there, by a plan that was made when there were none: on a young store the
-- dearest part of a call. Both are written in one transaction, and go together by audit_prune.
ALTER TABLE audit_personal DROP CONSTRAINT audit_personal_tenant_number_fkey;

CREATE OR REPLACE FUNCTION audit_prune(of_tenant TEXT, through BIGINT) RETURNS BIGINT
LANGUAGE plpgsql SECURITY DEFINER SET search_path = weir AS $$
DECLARE
    gone BIGINT;
BEGIN
    IF current_setting('weir.tenant') NOT IN (of_tenant, '*') THEN
        RETURN 0;
    END IF;
    DELETE FROM audit
    WHERE tenant = of_tenant AND number <= through
      AND at_ms <= (SELECT now_ms FROM clock) - 7776000000;
    GET DIAGNOSTICS gone = ROW_COUNT;
    DELETE FROM audit_personal AS p
    WHERE p.tenant = of_tenant AND p.number <= through
      AND NOT EXISTS (SELECT 1 FROM audit AS a WHERE a.tenant = p.tenant AND a.number = p.number);
    RETURN gone;
END
$$;

-- How often somebody consented, or the connection's file brought another refresh token: each may be another account.
ALTER TABLE grants ADD COLUMN consents BIGINT NOT NULL DEFAULT 1;

-- The database's clock, in milliseconds since 1970 (UTC). All times are taken from here, so that
-- processes with wrong clocks agree on who holds a lease.
CREATE VIEW clock AS SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms;

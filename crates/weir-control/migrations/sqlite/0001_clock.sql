-- The database's clock, in milliseconds since 1970 (UTC). All times are taken from here, so that
-- processes with wrong clocks agree on who holds a lease.
CREATE VIEW clock AS SELECT CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER) AS now_ms;

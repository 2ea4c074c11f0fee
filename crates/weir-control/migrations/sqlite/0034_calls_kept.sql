-- When input, output and key of a call were erased, as they had been kept for long enough; the digest stays.
ALTER TABLE calls ADD COLUMN erased_at_ms INTEGER;
CREATE INDEX calls_to_erase ON calls (tenant, finished_at_ms) WHERE erased_at_ms IS NULL;

-- What a call was asked under: SHA-256 of the connector's spec and the connection's settings. None of older calls.
ALTER TABLE calls ADD COLUMN fingerprint TEXT;

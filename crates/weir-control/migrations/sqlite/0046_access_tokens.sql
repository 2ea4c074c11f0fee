-- JSON: ["runs:read"]. What an access token of the identity provider leaves of its roles; none of browsers' sessions. One
-- without roles opens nothing, and is kept until it ends by itself.
ALTER TABLE sessions ADD COLUMN scopes TEXT;

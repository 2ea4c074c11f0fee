-- JSON: ["finance"]. Of people, as the identity provider's claims said at login; of tokens, as whoever made them.
ALTER TABLE sessions ADD COLUMN member_of TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tokens ADD COLUMN member_of TEXT NOT NULL DEFAULT '[]';
-- JSON: the claim's values that the roles came from. None of sessions of older versions.
ALTER TABLE sessions ADD COLUMN role_words TEXT;

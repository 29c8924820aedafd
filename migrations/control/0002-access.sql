-- API keys, links that set a password, sign-in by OpenID Connect, and an audit that nothing can rewrite.

-- Keys of programs for the placement API. Only the key's hash is kept: it is shown once, when it is made.
CREATE TABLE api_key (
  key_id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  -- JSON array of 'place', 'read', 'control'
  scopes TEXT NOT NULL,
  sha256 TEXT NOT NULL UNIQUE,
  -- The key's first characters, by which people tell keys apart.
  beginning TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_unix_ms INTEGER NOT NULL,
  expires_unix_ms INTEGER,
  last_used_unix_ms INTEGER,
  revoked_by TEXT,
  revoked_unix_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX api_key_in_use ON api_key (name) WHERE revoked_unix_ms IS NULL;

-- A link without a user makes the first one; with a user it sets that one's password.
ALTER TABLE sign_in_link ADD COLUMN user_id INTEGER REFERENCES user (user_id) ON DELETE CASCADE;

-- Whom an OpenID provider knows; null for those who sign in by password alone.
ALTER TABLE user ADD COLUMN oidc_issuer TEXT;
ALTER TABLE user ADD COLUMN oidc_subject TEXT;
CREATE UNIQUE INDEX user_by_oidc ON user (oidc_issuer, oidc_subject) WHERE oidc_subject IS NOT NULL;

-- By which its user tells a session from others.
ALTER TABLE session ADD COLUMN agent TEXT NOT NULL DEFAULT '';

CREATE INDEX audit_by_time ON audit (at_unix_ms);
CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_keeps_words BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
-- INSERT OR REPLACE would delete without a delete trigger.
CREATE TRIGGER audit_only_appends BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE audit_id = new.audit_id)
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;

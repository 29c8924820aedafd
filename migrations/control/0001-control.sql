-- What people and processes decide: written by admin, trainer and router in tiny transactions.

CREATE TABLE setting (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  changed_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE user (
  user_id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
  -- scrypt: parameters, salt and hash in one text; never the password.
  password TEXT NOT NULL,
  created_unix_ms INTEGER NOT NULL,
  last_sign_in_unix_ms INTEGER
) STRICT;

-- Sign-in links and sessions hold hashes of their tokens, never the tokens.
CREATE TABLE sign_in_link (
  token_sha256 TEXT PRIMARY KEY,
  created_unix_ms INTEGER NOT NULL,
  expires_unix_ms INTEGER NOT NULL,
  used_unix_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
  token_sha256 TEXT PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES user (user_id) ON DELETE CASCADE,
  form_token TEXT NOT NULL,
  created_unix_ms INTEGER NOT NULL,
  seen_unix_ms INTEGER NOT NULL,
  expires_unix_ms INTEGER NOT NULL,
  address TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What somebody asked for; the router or trainer obeys and marks it done.
CREATE TABLE intent (
  intent_id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  -- JSON, by kind; for drain and undrain {"pool": …, "instance": …}
  subject TEXT NOT NULL,
  asked_by TEXT NOT NULL,
  asked_unix_ms INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'done', 'refused')),
  answer TEXT,
  done_unix_ms INTEGER
) STRICT;
CREATE INDEX intent_open ON intent (intent_id) WHERE state = 'asked';

CREATE TABLE audit (
  audit_id INTEGER PRIMARY KEY,
  at_unix_ms INTEGER NOT NULL,
  who TEXT NOT NULL,
  address TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  before TEXT,
  after TEXT
) STRICT;

CREATE TABLE model (
  model_id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('length', 'policy', 'profile')),
  version TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  feature_hash TEXT,
  card TEXT NOT NULL,
  alias TEXT CHECK (alias IN ('champion', 'challenger', 'previous')),
  registered_unix_ms INTEGER NOT NULL,
  UNIQUE (kind, version)
) STRICT;

CREATE TABLE training_run (
  run_id INTEGER PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
  asked_by TEXT NOT NULL,
  asked_unix_ms INTEGER NOT NULL,
  started_unix_ms INTEGER,
  ended_unix_ms INTEGER,
  from_unix_ms INTEGER,
  to_unix_ms INTEGER,
  progress_ratio REAL NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT '{}',
  error TEXT
) STRICT;

-- Drained instances stay drained over restarts.
CREATE TABLE drained (
  pool TEXT NOT NULL,
  instance TEXT NOT NULL,
  by TEXT NOT NULL,
  since_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (pool, instance)
) STRICT, WITHOUT ROWID;

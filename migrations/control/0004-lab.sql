-- What people try out in the twin, and what they changed of the fleet while it runs.

CREATE TABLE lab_run (
  run_id INTEGER PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
  -- JSON, as asked (log/control/lab.ts)
  plan TEXT NOT NULL,
  asked_by TEXT NOT NULL,
  asked_unix_ms INTEGER NOT NULL,
  started_unix_ms INTEGER,
  ended_unix_ms INTEGER,
  progress_ratio REAL NOT NULL DEFAULT 0,
  -- What it does now, in words.
  says TEXT NOT NULL DEFAULT '',
  pid INTEGER,
  cancel_asked_by TEXT,
  -- JSON, once done.
  result TEXT,
  error TEXT
) STRICT;

-- Laid over what the configuration names; it wins until somebody takes it back.
CREATE TABLE fleet_change (
  pool TEXT NOT NULL,
  instance TEXT NOT NULL,
  what TEXT NOT NULL CHECK (what IN ('added', 'changed', 'removed')),
  -- JSON: {"url", "weight", "speed", "apiKeyEnv"?}; {} where it was removed
  settings TEXT NOT NULL,
  by TEXT NOT NULL,
  since_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (pool, instance)
) STRICT, WITHOUT ROWID;

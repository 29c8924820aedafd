-- The night shift: what a training run was asked and is doing, who made which model serve and why, and what is tried on real calls.

-- JSON as asked: {"trigger": "schedule"|"admin"|"command", "only"?, "generations"?, "minutes"?, "seed"?, "application"?}
ALTER TABLE training_run ADD COLUMN plan TEXT NOT NULL DEFAULT '{}';
-- What it does now, in a word: reading, profiles, length, policy, evaluating, registering.
ALTER TABLE training_run ADD COLUMN phase TEXT;
-- The trainer process and when it last gave a sign of life.
ALTER TABLE training_run ADD COLUMN pid INTEGER;
ALTER TABLE training_run ADD COLUMN beat_unix_ms INTEGER;
-- How often a trainer took it up: more than once where one died.
ALTER TABLE training_run ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
-- Who asked that it stops; the trainer obeys and marks it cancelled.
ALTER TABLE training_run ADD COLUMN cancel_asked_by TEXT;

CREATE TABLE training_line (
  run_id INTEGER NOT NULL REFERENCES training_run (run_id) ON DELETE CASCADE,
  line INTEGER NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (run_id, line)
) STRICT, WITHOUT ROWID;

-- Curves: y over x, e.g. 'policy: mean E2E ratio' over generations.
CREATE TABLE training_point (
  run_id INTEGER NOT NULL REFERENCES training_run (run_id) ON DELETE CASCADE,
  curve TEXT NOT NULL,
  x REAL NOT NULL,
  y REAL NOT NULL,
  PRIMARY KEY (run_id, curve, x)
) STRICT, WITHOUT ROWID;

-- Where its files are, below the data directory: models/KIND/VERSION.
ALTER TABLE model ADD COLUMN folder TEXT NOT NULL DEFAULT '';
ALTER TABLE model ADD COLUMN run_id INTEGER;
-- Version it was trained on from; 'base' where that was the shipped one.
ALTER TABLE model ADD COLUMN parent TEXT;

-- What an evaluation found: in words for people, numbers as JSON for pages.
CREATE TABLE verdict (
  verdict_id INTEGER PRIMARY KEY,
  model_id INTEGER NOT NULL REFERENCES model (model_id),
  run_id INTEGER,
  passed INTEGER NOT NULL,
  words TEXT NOT NULL,
  numbers TEXT NOT NULL,
  made_unix_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX verdict_by_model ON verdict (model_id, verdict_id);

-- Every change of what serves. NULL models: what ships (length, profile), or the rule that the configuration names (policy).
CREATE TABLE promotion (
  promotion_id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('length', 'policy', 'profile')),
  action TEXT NOT NULL CHECK (action IN ('promote', 'roll back', 'refused')),
  model_id INTEGER REFERENCES model (model_id),
  from_model_id INTEGER REFERENCES model (model_id),
  who TEXT NOT NULL,
  why TEXT NOT NULL,
  at_unix_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX promotion_by_kind ON promotion (kind, promotion_id);

-- Challengers tried on real calls. Shadow: each call is scored and nothing is obeyed. Canary: whole blocks of time, drawn from the seed, are
-- served by the challengers (switchback); which block had which arm stands in log.sqlite, switchback_block, and on each call.
CREATE TABLE trial (
  trial_id INTEGER PRIMARY KEY,
  mode TEXT NOT NULL CHECK (mode IN ('shadow', 'canary')),
  state TEXT NOT NULL CHECK (state IN ('running', 'ended', 'withdrawn', 'refused')),
  length_model_id INTEGER REFERENCES model (model_id),
  policy_model_id INTEGER REFERENCES model (model_id),
  profile_model_id INTEGER REFERENCES model (model_id),
  share_ratio REAL NOT NULL,
  block_ms INTEGER NOT NULL,
  washout_ms INTEGER NOT NULL,
  blocks_planned INTEGER NOT NULL,
  seed INTEGER NOT NULL,
  asked_by TEXT NOT NULL,
  started_unix_ms INTEGER NOT NULL,
  ended_unix_ms INTEGER,
  ended_by TEXT,
  ended_why TEXT,
  -- JSON: what it came to, e.g. the estimate of the gain; at a withdrawal what was seen.
  result TEXT
) STRICT;
CREATE UNIQUE INDEX trial_running ON trial (state) WHERE state = 'running';

-- What everybody should see on Overview until somebody closes it.
CREATE TABLE notice (
  notice_id INTEGER PRIMARY KEY,
  at_unix_ms INTEGER NOT NULL,
  tone TEXT NOT NULL CHECK (tone IN ('good', 'warn', 'bad')),
  text TEXT NOT NULL,
  -- Page that says more, e.g. /models
  href TEXT,
  closed_unix_ms INTEGER,
  closed_by TEXT
) STRICT;
CREATE INDEX notice_open ON notice (notice_id) WHERE closed_unix_ms IS NULL;

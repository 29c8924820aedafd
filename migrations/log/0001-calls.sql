-- What happened: calls, the rows their decisions saw, attempts, scrapes, rollups. Written by the router's log thread alone.

CREATE TABLE instance (
  instance_id INTEGER PRIMARY KEY,
  pool TEXT NOT NULL,
  name TEXT NOT NULL,
  url TEXT NOT NULL,
  first_seen_unix_ms INTEGER NOT NULL,
  UNIQUE (pool, name, url)
) STRICT;

-- One row per settled call. call_id carries the arrival time (plugin/call/id.ts), so a time range is a key range.
CREATE TABLE call (
  call_id INTEGER PRIMARY KEY,
  arrived_unix_ms INTEGER NOT NULL,
  gateway TEXT NOT NULL,
  api TEXT NOT NULL,
  pool TEXT NOT NULL,
  model TEXT NOT NULL,
  application TEXT NOT NULL,
  tenant TEXT NOT NULL,
  task TEXT,
  stream INTEGER NOT NULL,
  prompt_bytes INTEGER NOT NULL,
  prompt_tokens_estimate REAL NOT NULL,
  max_tokens INTEGER,
  -- the decision
  instance_id INTEGER REFERENCES instance (instance_id),
  policy TEXT NOT NULL,
  reason TEXT NOT NULL,
  propensity REAL NOT NULL,
  explored INTEGER NOT NULL,
  policy_version TEXT NOT NULL,
  length_version TEXT NOT NULL,
  decision_us REAL NOT NULL,
  held_ms REAL NOT NULL,
  predicted_output_tokens REAL,
  predicted_ttft_ms REAL,
  predicted_e2e_ms REAL,
  -- the outcome
  outcome TEXT NOT NULL,
  status INTEGER,
  error TEXT,
  attempts INTEGER NOT NULL,
  placed_ms REAL NOT NULL,
  ttft_ms REAL,
  tpot_ms REAL,
  e2e_ms REAL NOT NULL,
  prompt_tokens INTEGER,
  cached_prompt_tokens INTEGER,
  output_tokens INTEGER,
  tokens_from TEXT,
  censored INTEGER NOT NULL,
  finish_reason TEXT,
  text_features BLOB
) STRICT;
CREATE INDEX call_by_instance ON call (instance_id, call_id);
CREATE INDEX call_by_application ON call (application, call_id);
CREATE INDEX call_not_completed ON call (outcome, call_id) WHERE outcome <> 'completed';

-- What the decision saw: one Float32 blob per call. Layout: the call row, then `count` candidate rows, in the order of `instances`.
CREATE TABLE candidate (
  call_id INTEGER PRIMARY KEY,
  feature_hash TEXT NOT NULL,
  count INTEGER NOT NULL,
  total INTEGER NOT NULL,
  -- JSON array of instance ids, in blob order; the chosen is first, the runner-up second.
  instances TEXT NOT NULL,
  features BLOB NOT NULL,
  -- Float32 costs in the same order; NaN where the policy computed none.
  costs BLOB NOT NULL
) STRICT;

-- One row per try of a call on an instance; a call placed once has one.
CREATE TABLE attempt (
  call_id INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  instance_id INTEGER NOT NULL,
  started_ms REAL NOT NULL,
  ended_ms REAL NOT NULL,
  outcome TEXT NOT NULL,
  error TEXT,
  PRIMARY KEY (call_id, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE scrape (
  instance_id INTEGER NOT NULL,
  taken_unix_ms INTEGER NOT NULL,
  waiting REAL,
  running REAL,
  kv_usage_ratio REAL,
  in_flight INTEGER NOT NULL,
  foreign_in_flight REAL,
  state TEXT NOT NULL,
  PRIMARY KEY (instance_id, taken_unix_ms)
) STRICT, WITHOUT ROWID;

-- Per minute of arrival and slice, so that a minute here is the same calls as that id range in call; instance_id is 0 where none
-- was chosen. Histograms (ms) merge by adding (plugin/log/histogram.ts).
CREATE TABLE rollup (
  minute_unix_ms INTEGER NOT NULL,
  pool TEXT NOT NULL,
  instance_id INTEGER NOT NULL,
  policy TEXT NOT NULL,
  calls INTEGER NOT NULL,
  completed INTEGER NOT NULL,
  instance_errors INTEGER NOT NULL,
  clients_gone INTEGER NOT NULL,
  timed_out INTEGER NOT NULL,
  retried INTEGER NOT NULL,
  held INTEGER NOT NULL,
  held_ms_sum REAL NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  ttft BLOB NOT NULL,
  tpot BLOB NOT NULL,
  e2e BLOB NOT NULL,
  PRIMARY KEY (minute_unix_ms, pool, instance_id, policy)
) STRICT, WITHOUT ROWID;

-- Everything we lost or worked around, by name; cumulative over restarts.
CREATE TABLE counter (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL,
  changed_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The fleet as the router knows it now, one row per instance, renewed every second: what Fleet and Overview show.
CREATE TABLE fleet_now (
  instance_id INTEGER PRIMARY KEY,
  pool TEXT NOT NULL,
  name TEXT NOT NULL,
  url TEXT NOT NULL,
  state TEXT NOT NULL,
  state_reason TEXT,
  speed REAL NOT NULL,
  weight REAL NOT NULL,
  slow_start_ratio REAL NOT NULL,
  in_flight INTEGER NOT NULL,
  prefill_tokens_pending REAL NOT NULL,
  output_tokens_left REAL NOT NULL,
  placed INTEGER NOT NULL,
  waiting REAL,
  running REAL,
  kv_usage_ratio REAL,
  foreign_in_flight REAL,
  prefix_hit_ratio REAL,
  scrape_age_ms REAL,
  expected_share_ratio REAL,
  seen_unix_ms INTEGER NOT NULL
) STRICT;

-- One row: the router process itself.
CREATE TABLE router_now (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  pid INTEGER NOT NULL,
  started_unix_ms INTEGER NOT NULL,
  seen_unix_ms INTEGER NOT NULL,
  ready INTEGER NOT NULL,
  version TEXT NOT NULL,
  queue_rows INTEGER NOT NULL,
  dropped_rows INTEGER NOT NULL,
  pools TEXT NOT NULL
) STRICT;

-- One row: the last batch taken from the router, written in the batch's own transaction. A batch whose answer was lost (the log thread
-- died) is sent again, and this tells whether it is in already: counters and rollups never count twice.
CREATE TABLE last_batch (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  source TEXT NOT NULL,
  sequence INTEGER NOT NULL
) STRICT;

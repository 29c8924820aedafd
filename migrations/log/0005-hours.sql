-- Rollups of whole hours that are over, made from those of minutes: a month is then some thousand rows to merge instead of some hundred thousand.
CREATE TABLE rollup_hour (
  hour_unix_ms INTEGER NOT NULL,
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
  PRIMARY KEY (hour_unix_ms, pool, instance_id, policy)
) STRICT, WITHOUT ROWID;

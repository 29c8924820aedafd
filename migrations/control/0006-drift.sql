-- Does what was learned still live in the world that it was learned in? Told per day (learning/drift.ts).

-- What a subject may count on: JSON. The subject is the version of the policy that serves, or 'shipped'.
CREATE TABLE drift_reference (
  subject TEXT PRIMARY KEY,
  from_unix_ms INTEGER NOT NULL,
  to_unix_ms INTEGER NOT NULL,
  reference TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE drift_day (
  subject TEXT NOT NULL,
  day_unix_ms INTEGER NOT NULL,
  calls INTEGER NOT NULL,
  level TEXT NOT NULL CHECK (level IN ('none', 'watch', 'alarm')),
  -- What was promised did not come: the learned part was out of its depth.
  falls_back INTEGER NOT NULL,
  words TEXT NOT NULL,
  -- JSON: the figures
  numbers TEXT NOT NULL,
  judged_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (subject, day_unix_ms)
) STRICT, WITHOUT ROWID;

-- Challengers tried on real calls (control.sqlite, trial): which arm served, and what the other would have done.

-- The trial under way when the call was decided; NULL where there was none.
ALTER TABLE call ADD COLUMN trial_id INTEGER;
-- Canary: number of the time block from 0, its arm ('control' or 'challenger'), and whether the call fell into the wash-out at its beginning.
ALTER TABLE call ADD COLUMN block INTEGER;
ALTER TABLE call ADD COLUMN arm TEXT;
ALTER TABLE call ADD COLUMN washout INTEGER;
-- Shadow: what the challengers said; NULL where they were not asked or failed.
ALTER TABLE call ADD COLUMN shadow_instance_id INTEGER;
ALTER TABLE call ADD COLUMN shadow_output_tokens REAL;
CREATE INDEX call_by_trial ON call (trial_id, call_id) WHERE trial_id IS NOT NULL;

-- Written when a block begins; the last one of a trial ended before its time where the trial did.
CREATE TABLE switchback_block (
  trial_id INTEGER NOT NULL,
  block INTEGER NOT NULL,
  arm TEXT NOT NULL CHECK (arm IN ('control', 'challenger')),
  from_unix_ms INTEGER NOT NULL,
  to_unix_ms INTEGER NOT NULL,
  washout_until_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (trial_id, block)
) STRICT, WITHOUT ROWID;

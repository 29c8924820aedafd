-- What predicted a call's output length ('model', or which fallback), and the distribution it gave: the cumulative probability at the 47 inner
-- edges of the log-spaced buckets (0.5 · 2^(i/3) tokens), 16-bit little endian in 65,535ths. NULL where nothing was predicted.
ALTER TABLE call ADD COLUMN length_source TEXT;
ALTER TABLE call ADD COLUMN predicted_length BLOB;

-- What the length model read of the call, for the next training and for the history of applications: half-precision numbers, little endian, of the
-- feature list with this hash. NULL where nothing was read, and where text features are switched off.
ALTER TABLE call ADD COLUMN length_feature_hash TEXT;
ALTER TABLE call ADD COLUMN length_row BLOB;

-- 32-bit hash of the system prompt, 0 without one; NULL for calls of before.
ALTER TABLE call ADD COLUMN system_hash INTEGER;

-- Instances that are not what they were, as the router noticed from the calls they answered. A row goes when the instance is again as it was, when a profile
-- fitted to it since serves, or when somebody says that it is so now.
CREATE TABLE instance_change (
  pool TEXT NOT NULL,
  instance TEXT NOT NULL,
  -- Time per token over what it was at the same load; below 1: faster.
  factor REAL NOT NULL,
  words TEXT NOT NULL,
  -- When it began, as estimated: calls before it are of another instance than there is now.
  since_unix_ms INTEGER NOT NULL,
  noticed_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (pool, instance)
) STRICT, WITHOUT ROWID;

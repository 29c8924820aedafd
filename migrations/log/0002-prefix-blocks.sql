-- Which calls shared a beginning: the lower 32 bits of the chained hash of each 256-byte block of the prompt, little endian, from its
-- start, at most 256 of them. NULL for calls of before, for prompts below one block, and where text features are switched off.
ALTER TABLE call ADD COLUMN prefix_blocks BLOB;

-- The profiles that a policy was trained and judged with: they serve with it.
ALTER TABLE model ADD COLUMN profile_model_id INTEGER;
-- The change of the profiles that was made with this one of the policy.
ALTER TABLE promotion ADD COLUMN with_promotion_id INTEGER;

-- A policy of an earlier night was judged with the profiles of the same run.
UPDATE model SET profile_model_id = (
  SELECT max(own.model_id) FROM model own WHERE own.kind = 'profile' AND own.run_id = model.run_id
) WHERE kind = 'policy' AND run_id IS NOT NULL;

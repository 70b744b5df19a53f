-- Which variations of which experiments a decision was made under; decisions that were stored before
-- were made under none.

ALTER TABLE decisions ADD (experiments JSON);

COMMENT ON COLUMN decisions.experiments IS 'The experiments that the decision names: experiment_id, variation_id, probability, unit, not_counted; NULL where it was stored before migration 12';

-- A decision that shows several actions says which, each at its position; of those that were stored
-- before only the first is known, and what became of the others by their outcomes.

ALTER TABLE decisions ADD (slate JSON);

COMMENT ON COLUMN decisions.slate IS 'What is shown at each position, with its probability given those above it; NULL where one action is';

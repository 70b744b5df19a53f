-- A decision or a policy that would be too large a record says what was left out of it; of those that
-- were stored before nothing was.

ALTER TABLE decisions ADD (ranking_left_out NUMBER(19) DEFAULT 0 NOT NULL);

COMMENT ON COLUMN decisions.ranking_left_out IS 'How many eligible actions the ranking leaves out, the least probable ones';

ALTER TABLE decisions ADD (ranking_left_out_probability BINARY_DOUBLE DEFAULT 0.0 NOT NULL);

COMMENT ON COLUMN decisions.ranking_left_out_probability IS 'The sum of their probabilities';

ALTER TABLE policy_snapshots ADD (actions_left_out NUMBER(19) DEFAULT 0 NOT NULL);

COMMENT ON COLUMN policy_snapshots.actions_left_out IS 'How many actions are left out, those with the fewest decisions';

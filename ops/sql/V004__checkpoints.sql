-- What each slot's learner had learned of settled decisions alone, in parts; a start from the store
-- reads the newest complete one of the two generations.

CREATE TABLE IF NOT EXISTS policy_checkpoints (
    slot_id VARCHAR2(256 CHAR) NOT NULL,
    generation NUMBER(1) NOT NULL,
    part NUMBER(9) NOT NULL,
    parts NUMBER(9) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    version NUMBER(19) NOT NULL,
    decisions BINARY_DOUBLE NOT NULL,
    rewards BINARY_DOUBLE NOT NULL,
    state CLOB NOT NULL,
    CONSTRAINT policy_checkpoints_pk PRIMARY KEY (slot_id, generation, part),
    CONSTRAINT policy_checkpoints_part_ck CHECK (part >= 0 AND part < parts)
);

COMMENT ON TABLE policy_checkpoints IS 'What settled decisions have taught each slot, in parts, by two generations in turn';
COMMENT ON COLUMN policy_checkpoints.slot_id IS 'The slot';
COMMENT ON COLUMN policy_checkpoints.generation IS '0 or 1: the one that is not being written is whole';
COMMENT ON COLUMN policy_checkpoints.part IS 'Number of the part, from 0';
COMMENT ON COLUMN policy_checkpoints.parts IS 'How many parts there are';
COMMENT ON COLUMN policy_checkpoints.time IS 'Every decision is in it whose window had closed by then, and no other, UTC';
COMMENT ON COLUMN policy_checkpoints.version IS 'The policy version of that moment';
COMMENT ON COLUMN policy_checkpoints.decisions IS 'Settled decisions learned from';
COMMENT ON COLUMN policy_checkpoints.rewards IS 'Their rewards';
COMMENT ON COLUMN policy_checkpoints.state IS 'The learner''s own compact form, base64';

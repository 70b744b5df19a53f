-- The tables of Banditflow. All times are UTC. States (slots, actions, experiments, user_profiles,
-- outcomes, policy_snapshots, deliveries) keep the newest version of each key; the others only grow.
-- There are no foreign keys: the topics are written independently, so an outcome may arrive first.

CREATE TABLE IF NOT EXISTS slots (
    slot_id VARCHAR2(256 CHAR) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    event_id VARCHAR2(256 CHAR) NOT NULL,
    deleted BOOLEAN NOT NULL,
    policy VARCHAR2(256 CHAR) NOT NULL,
    reward_window BINARY_DOUBLE NOT NULL,
    settings JSON NOT NULL,
    CONSTRAINT slots_pk PRIMARY KEY (slot_id)
);

CREATE TABLE IF NOT EXISTS actions (
    action_id VARCHAR2(256 CHAR) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    event_id VARCHAR2(256 CHAR) NOT NULL,
    deleted BOOLEAN NOT NULL,
    enabled BOOLEAN NOT NULL,
    slots JSON NOT NULL,
    features JSON NOT NULL,
    content JSON,
    embedding VECTOR(*, FLOAT32),
    dimension NUMBER(5),
    CONSTRAINT actions_pk PRIMARY KEY (action_id)
);

CREATE TABLE IF NOT EXISTS experiments (
    experiment_id VARCHAR2(256 CHAR) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    event_id VARCHAR2(256 CHAR) NOT NULL,
    deleted BOOLEAN NOT NULL,
    enabled BOOLEAN NOT NULL,
    slot_id VARCHAR2(256 CHAR) NOT NULL,
    settings JSON NOT NULL,
    CONSTRAINT experiments_pk PRIMARY KEY (experiment_id)
);

CREATE TABLE IF NOT EXISTS user_profiles (
    subject VARCHAR2(256 CHAR) NOT NULL,
    version NUMBER(19) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    deleted BOOLEAN NOT NULL,
    purposes JSON NOT NULL,
    features JSON NOT NULL,
    embedding VECTOR(*, FLOAT32),
    dimension NUMBER(5),
    CONSTRAINT user_profiles_pk PRIMARY KEY (subject)
);

CREATE TABLE IF NOT EXISTS decisions (
    decision_key VARCHAR2(16 CHAR) NOT NULL,
    decision_id VARCHAR2(256 CHAR) NOT NULL,
    event_id VARCHAR2(256 CHAR) NOT NULL,
    subject VARCHAR2(256 CHAR),
    slot_id VARCHAR2(256 CHAR) NOT NULL,
    action_id VARCHAR2(256 CHAR) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    decided_at TIMESTAMP(6),
    expires_at TIMESTAMP(6) NOT NULL,
    propensity BINARY_DOUBLE NOT NULL,
    ranking JSON NOT NULL,
    policy VARCHAR2(256 CHAR) NOT NULL,
    policy_version NUMBER(19) NOT NULL,
    policy_time TIMESTAMP(6),
    baseline_action_id VARCHAR2(256 CHAR),
    experiment_id VARCHAR2(256 CHAR),
    variation_id VARCHAR2(256 CHAR),
    learning_mode VARCHAR2(16 CHAR) NOT NULL,
    deferred BOOLEAN NOT NULL,
    features VECTOR(*, FLOAT32),
    eta BINARY_DOUBLE NOT NULL,
    draw BINARY_DOUBLE NOT NULL,
    request_hash VARCHAR2(256 CHAR),
    CONSTRAINT decisions_pk PRIMARY KEY (decision_key),
    CONSTRAINT decisions_propensity_ck CHECK (propensity > 0 AND propensity <= 1.000000001),
    CONSTRAINT decisions_learning_mode_ck CHECK (learning_mode IN ('immediate', 'wait', 'exposure')),
    CONSTRAINT decisions_key_length_ck CHECK (LENGTH(decision_key) = 16)
)
PARTITION BY RANGE (time) INTERVAL (NUMTODSINTERVAL(1, 'DAY'))
    (PARTITION decisions_before VALUES LESS THAN (TIMESTAMP '2025-01-01 00:00:00'))
ENABLE ROW MOVEMENT;

CREATE INDEX IF NOT EXISTS decisions_by_id ON decisions (decision_id);

CREATE TABLE IF NOT EXISTS outcomes (
    decision_key VARCHAR2(16 CHAR) NOT NULL,
    version NUMBER(19) NOT NULL,
    revision NUMBER(19) NOT NULL,
    status VARCHAR2(16 CHAR) NOT NULL,
    decision_id VARCHAR2(256 CHAR) NOT NULL,
    subject VARCHAR2(256 CHAR),
    slot_id VARCHAR2(256 CHAR) NOT NULL,
    action_id VARCHAR2(256 CHAR) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    settled_at TIMESTAMP(6),
    propensity BINARY_DOUBLE NOT NULL,
    reward BINARY_DOUBLE NOT NULL,
    activated BOOLEAN NOT NULL,
    delay BINARY_DOUBLE,
    policy VARCHAR2(256 CHAR),
    policy_version NUMBER(19) NOT NULL,
    reason VARCHAR2(256 CHAR),
    experiment_id VARCHAR2(256 CHAR),
    variation_id VARCHAR2(256 CHAR),
    eta BINARY_DOUBLE NOT NULL,
    CONSTRAINT outcomes_pk PRIMARY KEY (decision_key),
    CONSTRAINT outcomes_propensity_ck CHECK (propensity > 0 AND propensity <= 1.000000001),
    CONSTRAINT outcomes_status_ck CHECK (status IN ('pending', 'settled', 'void')),
    CONSTRAINT outcomes_revision_ck CHECK (revision >= 0),
    CONSTRAINT outcomes_key_length_ck CHECK (LENGTH(decision_key) = 16)
)
PARTITION BY RANGE (time) INTERVAL (NUMTODSINTERVAL(1, 'DAY'))
    (PARTITION outcomes_before VALUES LESS THAN (TIMESTAMP '2025-01-01 00:00:00'))
ENABLE ROW MOVEMENT;

CREATE TABLE IF NOT EXISTS policy_snapshots (
    slot_id VARCHAR2(256 CHAR) NOT NULL,
    version NUMBER(19) NOT NULL,
    policy VARCHAR2(256 CHAR) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    published_at TIMESTAMP(6),
    decisions BINARY_DOUBLE NOT NULL,
    rewards BINARY_DOUBLE NOT NULL,
    actions JSON NOT NULL,
    posterior CLOB,
    models JSON NOT NULL,
    CONSTRAINT policy_snapshots_pk PRIMARY KEY (slot_id)
);

CREATE TABLE IF NOT EXISTS experiment_results (
    experiment_id VARCHAR2(256 CHAR) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    slot_id VARCHAR2(256 CHAR) NOT NULL,
    summary JSON NOT NULL,
    CONSTRAINT experiment_results_pk PRIMARY KEY (experiment_id, time)
);

CREATE TABLE IF NOT EXISTS optimized_content (
    slot_id VARCHAR2(256 CHAR) NOT NULL,
    segment VARCHAR2(256 CHAR) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    action_id VARCHAR2(256 CHAR) NOT NULL,
    experiment_id VARCHAR2(256 CHAR),
    policy_version NUMBER(19),
    probability BINARY_DOUBLE,
    content JSON,
    reason VARCHAR2(256 CHAR),
    CONSTRAINT optimized_content_pk PRIMARY KEY (slot_id, segment, time),
    CONSTRAINT optimized_content_probability_ck CHECK (probability >= 0 AND probability <= 1)
);

CREATE TABLE IF NOT EXISTS deliveries (
    delivery_id VARCHAR2(256 CHAR) NOT NULL,
    revision NUMBER(19) NOT NULL,
    status VARCHAR2(16 CHAR) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    updated_at TIMESTAMP(6),
    channel VARCHAR2(256 CHAR) NOT NULL,
    subject VARCHAR2(256 CHAR),
    slot_id VARCHAR2(256 CHAR) NOT NULL,
    action_id VARCHAR2(256 CHAR) NOT NULL,
    decision_id VARCHAR2(256 CHAR),
    attempts NUMBER(10) NOT NULL,
    reason VARCHAR2(256 CHAR),
    CONSTRAINT deliveries_pk PRIMARY KEY (delivery_id),
    CONSTRAINT deliveries_status_ck CHECK (status IN ('pending', 'sent', 'failed', 'suppressed')),
    CONSTRAINT deliveries_revision_ck CHECK (revision >= 0),
    CONSTRAINT deliveries_attempts_ck CHECK (attempts >= 0)
)
PARTITION BY RANGE (time) INTERVAL (NUMTODSINTERVAL(1, 'DAY'))
    (PARTITION deliveries_before VALUES LESS THAN (TIMESTAMP '2025-01-01 00:00:00'))
ENABLE ROW MOVEMENT;

CREATE INDEX IF NOT EXISTS deliveries_by_subject ON deliveries (subject, time);

CREATE TABLE IF NOT EXISTS erasures (
    receipt_id VARCHAR2(256 CHAR) NOT NULL,
    event_id VARCHAR2(256 CHAR) NOT NULL,
    subject VARCHAR2(256 CHAR) NOT NULL,
    time TIMESTAMP(6) NOT NULL,
    completed_at TIMESTAMP(6) NOT NULL,
    removed JSON NOT NULL,
    CONSTRAINT erasures_pk PRIMARY KEY (receipt_id)
);

CREATE TABLE IF NOT EXISTS dead_letters (
    topic VARCHAR2(256 CHAR) NOT NULL,
    topic_partition NUMBER(10) NOT NULL,
    topic_offset NUMBER(19) NOT NULL,
    reason VARCHAR2(256 CHAR) NOT NULL,
    field VARCHAR2(256 CHAR),
    detail VARCHAR2(1000 CHAR),
    time TIMESTAMP(6),
    payload_bytes NUMBER(19) NOT NULL,
    payload_sha256 VARCHAR2(256 CHAR) NOT NULL,
    CONSTRAINT dead_letters_pk PRIMARY KEY (topic, topic_partition, topic_offset)
);

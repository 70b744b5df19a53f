-- What does not teach though it counts is known by its reason; of what was stored before all taught.

ALTER TABLE decisions ADD (robot BOOLEAN DEFAULT FALSE NOT NULL);

COMMENT ON COLUMN decisions.robot IS 'True where the request said that no person asks';

ALTER TABLE outcomes ADD (not_learned VARCHAR2(256 CHAR));

COMMENT ON COLUMN outcomes.not_learned IS 'Why nothing learns from it though it counts, NULL where something does';

-- Means are of settled outcomes alone: of decisions whose window is open only rewarded ones have an
-- outcome yet. A decision is rewarded once a reward came, whatever no answer is worth.

CREATE OR REPLACE VIEW action_funnel AS
SELECT
    d.slot_id,
    d.action_id,
    COUNT(*) AS decisions,
    SUM(CASE WHEN o.activated AND o.status <> 'void' THEN 1 ELSE 0 END) AS impressions,
    SUM(CASE WHEN o.delay IS NOT NULL AND o.status <> 'void' THEN 1 ELSE 0 END) AS rewarded,
    SUM(CASE WHEN o.status <> 'void' THEN o.reward ELSE 0 END) AS reward,
    AVG(d.propensity) AS mean_propensity
FROM decisions d
LEFT JOIN outcomes o ON o.decision_key = d.decision_key
GROUP BY d.slot_id, d.action_id;

CREATE OR REPLACE VIEW learning_curve AS
SELECT
    slot_id,
    hour,
    decisions,
    reward,
    SUM(reward) OVER (PARTITION BY slot_id ORDER BY hour)
        / SUM(decisions) OVER (PARTITION BY slot_id ORDER BY hour) AS mean_reward_so_far
FROM (
    SELECT slot_id, TRUNC(time, 'HH24') AS hour, COUNT(*) AS decisions, SUM(reward) AS reward
    FROM outcomes
    WHERE activated AND status = 'settled'
    GROUP BY slot_id, TRUNC(time, 'HH24')
) hours;

CREATE OR REPLACE VIEW experiment_summary AS
SELECT
    experiment_id,
    variation_id,
    slot_id,
    COUNT(*) AS decisions,
    SUM(reward) AS reward,
    AVG(reward) AS mean_reward,
    SUM(reward / propensity) / SUM(1 / propensity) AS weighted_mean_reward
FROM outcomes
WHERE experiment_id IS NOT NULL AND activated AND status = 'settled'
GROUP BY experiment_id, variation_id, slot_id;

-- Reports that people ask for. A decision counts once it was activated and while it is not void.

CREATE OR REPLACE VIEW consents AS
SELECT subject, version, time, purposes, deleted FROM user_profiles;

-- Traffic and reward per slot and day; inverse_propensity over impressions is the mean number of
-- eligible actions when the logged propensities are right.
CREATE OR REPLACE VIEW slot_daily AS
SELECT
    TRUNC(d.time) AS day,
    d.slot_id,
    COUNT(*) AS decisions,
    SUM(CASE WHEN o.activated AND o.status <> 'void' THEN 1 ELSE 0 END) AS impressions,
    SUM(CASE WHEN o.status <> 'void' THEN o.reward ELSE 0 END) AS reward,
    SUM(CASE WHEN o.activated AND o.status <> 'void' THEN 1 / d.propensity ELSE 0 END)
        AS inverse_propensity
FROM decisions d
LEFT JOIN outcomes o ON o.decision_key = d.decision_key
GROUP BY TRUNC(d.time), d.slot_id;

-- From decision to reward per slot and action.
CREATE OR REPLACE VIEW action_funnel AS
SELECT
    d.slot_id,
    d.action_id,
    COUNT(*) AS decisions,
    SUM(CASE WHEN o.activated AND o.status <> 'void' THEN 1 ELSE 0 END) AS impressions,
    SUM(CASE WHEN o.reward > 0 AND o.status <> 'void' THEN 1 ELSE 0 END) AS rewarded,
    SUM(CASE WHEN o.status <> 'void' THEN o.reward ELSE 0 END) AS reward,
    AVG(d.propensity) AS mean_propensity
FROM decisions d
LEFT JOIN outcomes o ON o.decision_key = d.decision_key
GROUP BY d.slot_id, d.action_id;

-- The mean reward so far, hour by hour: it rises while a slot's policy learns.
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
    WHERE activated AND status <> 'void'
    GROUP BY slot_id, TRUNC(time, 'HH24')
) hours;

-- Per variation: the plain mean reward, and the self-normalised inverse-propensity estimate, which
-- stays right when the split between the actions moves.
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
WHERE experiment_id IS NOT NULL AND activated AND status <> 'void'
GROUP BY experiment_id, variation_id, slot_id;

-- The present winner of each slot and segment; optimized_content has those before it.
CREATE OR REPLACE VIEW current_content AS
SELECT slot_id, segment, time, action_id, experiment_id, policy_version, probability
FROM (
    SELECT
        slot_id,
        segment,
        time,
        action_id,
        experiment_id,
        policy_version,
        probability,
        ROW_NUMBER() OVER (PARTITION BY slot_id, segment ORDER BY time DESC) AS age
    FROM optimized_content
) winners
WHERE age = 1;

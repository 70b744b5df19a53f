-- Reports say what is learned of, at every position of a slate. What robots and loud visitors did is
-- left out, and counted apart where a report has more than means. So far slot_daily and
-- action_funnel saw first positions only, by the decision's key, and those with open windows, of
-- which only rewarded ones have an outcome yet. Older columns keep their places: views are replaced.

-- decisions are all that were answered; the rest is of settled outcomes, one for each position.
-- inverse_propensity over impressions is the mean number of eligible actions when the logged
-- propensities are right.
CREATE OR REPLACE VIEW slot_daily AS
SELECT
    day,
    slot_id,
    SUM(decision) AS decisions,
    SUM(impression) AS impressions,
    SUM(reward) AS reward,
    SUM(inverse_propensity) AS inverse_propensity,
    SUM(left_out) AS not_learned
FROM (
    SELECT
        TRUNC(time) AS day,
        slot_id,
        1 AS decision,
        0 AS impression,
        0 * propensity AS reward,
        0 * propensity AS inverse_propensity,
        0 AS left_out
    FROM decisions
    UNION ALL
    SELECT
        TRUNC(time) AS day,
        slot_id,
        0 AS decision,
        CASE WHEN not_learned IS NULL THEN 1 ELSE 0 END AS impression,
        CASE WHEN not_learned IS NULL THEN reward ELSE 0 END AS reward,
        CASE WHEN not_learned IS NULL THEN 1 / propensity ELSE 0 END AS inverse_propensity,
        CASE WHEN not_learned IS NULL THEN 0 ELSE 1 END AS left_out
    FROM outcomes
    WHERE activated AND status = 'settled'
) parts
GROUP BY day, slot_id;

-- decisions are positions that showed the action, settled or void.
CREATE OR REPLACE VIEW action_funnel AS
SELECT
    slot_id,
    action_id,
    COUNT(*) AS decisions,
    SUM(learned) AS impressions,
    SUM(CASE WHEN delay IS NULL THEN 0 ELSE learned END) AS rewarded,
    SUM(CASE WHEN learned = 1 THEN reward ELSE 0 END) AS reward,
    AVG(propensity) AS mean_propensity,
    SUM(CASE WHEN not_learned IS NULL THEN 0 ELSE 1 END) AS not_learned
FROM (
    SELECT
        slot_id,
        action_id,
        delay,
        reward,
        propensity,
        not_learned,
        CASE WHEN activated AND status = 'settled' AND not_learned IS NULL THEN 1 ELSE 0 END
            AS learned
    FROM outcomes
    WHERE status <> 'pending'
) positions
GROUP BY slot_id, action_id;

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
    WHERE activated AND status = 'settled' AND not_learned IS NULL
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
WHERE experiment_id IS NOT NULL AND activated AND status = 'settled' AND not_learned IS NULL
GROUP BY experiment_id, variation_id, slot_id;

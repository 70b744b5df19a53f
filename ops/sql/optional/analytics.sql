-- Questions answered inside the database. Examples to start from, each one a query.

-- Is a policy better than the baseline? Per slot: the self-normalised inverse-propensity estimate
-- of "always the baseline", beside what was earned. Of slates it is of the first position, whose
-- outcome has the decision's key. What robots and loud visitors did is left out.
SELECT
    d.slot_id,
    COUNT(*) AS decisions,
    AVG(o.reward) AS earned,
    SUM(CASE WHEN o.action_id = d.baseline_action_id THEN o.reward / o.propensity END)
        / NULLIF(SUM(CASE WHEN o.action_id = d.baseline_action_id THEN 1 / o.propensity END), 0)
        AS baseline_estimate
FROM decisions d
JOIN outcomes o ON o.decision_key = d.decision_key
WHERE o.activated
    AND o.status = 'settled'
    AND o.not_learned IS NULL
    AND d.baseline_action_id IS NOT NULL
GROUP BY d.slot_id;

-- Are the logged propensities right? The mean of 1/p over decisions of n eligible actions is n,
-- in slots that show one action: a slate's propensity is that of its whole order.
SELECT slot_id, COUNT(*) AS decisions, AVG(1 / propensity / eligible) AS audit
FROM (
    SELECT
        slot_id,
        propensity,
        JSON_VALUE(ranking, '$.size()' RETURNING NUMBER) + ranking_left_out AS eligible
    FROM decisions
) audited
GROUP BY slot_id;

-- How does the reward depend on the hour of the day? Each position of a slate is one decision.
SELECT
    slot_id,
    EXTRACT(HOUR FROM time) AS hour_of_day,
    COUNT(*) AS decisions,
    AVG(reward) AS mean_reward,
    STDDEV(reward) / SQRT(COUNT(*)) AS standard_error
FROM outcomes
WHERE activated AND status = 'settled' AND not_learned IS NULL
GROUP BY slot_id, EXTRACT(HOUR FROM time)
ORDER BY slot_id, hour_of_day;

-- Which actions behave alike? Pairs by the distance of their content vectors.
SELECT a.action_id, b.action_id AS other, VECTOR_DISTANCE(a.embedding, b.embedding, COSINE) AS distance
FROM actions a
JOIN actions b ON a.action_id < b.action_id AND a.dimension = b.dimension
ORDER BY distance
FETCH FIRST 20 ROWS ONLY;

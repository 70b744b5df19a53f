"""The embedded store's views: the reports, as SQLite has them (``ops/sql`` has Oracle's)."""

VIEWS = (
    "CREATE VIEW consents AS SELECT subject, version, time, purposes, deleted FROM user_profiles",
    """CREATE VIEW current_content AS
    SELECT slot_id, segment, time, action_id, experiment_id, policy_version, probability
    FROM (
        SELECT o.*, row_number() OVER (PARTITION BY slot_id, segment ORDER BY time DESC) AS age
        FROM optimized_content o
    ) WHERE age = 1""",
    """CREATE VIEW slot_daily AS
    SELECT date(d.time / 1000000, 'unixepoch') AS day, d.slot_id, count(*) AS decisions,
        sum(coalesce(o.activated AND o.status <> 'void', 0)) AS impressions,
        sum(coalesce(CASE WHEN o.status <> 'void' THEN o.reward END, 0)) AS reward,
        sum(CASE WHEN o.activated AND o.status <> 'void' THEN 1.0 / d.propensity ELSE 0 END)
            AS inverse_propensity
    FROM decisions d LEFT JOIN outcomes o ON o.decision_key = d.decision_key
    GROUP BY date(d.time / 1000000, 'unixepoch'), d.slot_id""",
    """CREATE VIEW action_funnel AS
    SELECT d.slot_id, d.action_id, count(*) AS decisions,
        sum(coalesce(o.activated AND o.status <> 'void', 0)) AS impressions,
        sum(coalesce(o.reward > 0 AND o.status <> 'void', 0)) AS rewarded,
        sum(coalesce(CASE WHEN o.status <> 'void' THEN o.reward END, 0)) AS reward,
        avg(d.propensity) AS mean_propensity
    FROM decisions d LEFT JOIN outcomes o ON o.decision_key = d.decision_key
    GROUP BY d.slot_id, d.action_id""",
    """CREATE VIEW learning_curve AS
    SELECT slot_id, hour, decisions, reward,
        sum(reward) OVER (PARTITION BY slot_id ORDER BY hour)
            / sum(decisions) OVER (PARTITION BY slot_id ORDER BY hour) AS mean_reward_so_far
    FROM (
        SELECT slot_id, time / 3600000000 * 3600000000 AS hour, count(*) AS decisions,
            sum(reward) AS reward
        FROM outcomes WHERE activated AND status <> 'void'
        GROUP BY slot_id, time / 3600000000
    )""",
    """CREATE VIEW experiment_summary AS
    SELECT experiment_id, variation_id, slot_id, count(*) AS decisions,
        sum(reward) AS reward, avg(reward) AS mean_reward,
        sum(reward / propensity) / sum(1.0 / propensity) AS weighted_mean_reward
    FROM outcomes WHERE experiment_id IS NOT NULL AND activated AND status <> 'void'
    GROUP BY experiment_id, variation_id, slot_id""",
)
"""The views as they were at first."""

_OF_WHAT_SETTLED = (
    """CREATE VIEW action_funnel AS
    SELECT d.slot_id, d.action_id, count(*) AS decisions,
        sum(coalesce(o.activated AND o.status <> 'void', 0)) AS impressions,
        sum(coalesce(o.delay IS NOT NULL AND o.status <> 'void', 0)) AS rewarded,
        sum(coalesce(CASE WHEN o.status <> 'void' THEN o.reward END, 0)) AS reward,
        avg(d.propensity) AS mean_propensity
    FROM decisions d LEFT JOIN outcomes o ON o.decision_key = d.decision_key
    GROUP BY d.slot_id, d.action_id""",
    """CREATE VIEW learning_curve AS
    SELECT slot_id, hour, decisions, reward,
        sum(reward) OVER (PARTITION BY slot_id ORDER BY hour)
            / sum(decisions) OVER (PARTITION BY slot_id ORDER BY hour) AS mean_reward_so_far
    FROM (
        SELECT slot_id, time / 3600000000 * 3600000000 AS hour, count(*) AS decisions,
            sum(reward) AS reward
        FROM outcomes WHERE activated AND status = 'settled'
        GROUP BY slot_id, time / 3600000000
    )""",
    """CREATE VIEW experiment_summary AS
    SELECT experiment_id, variation_id, slot_id, count(*) AS decisions,
        sum(reward) AS reward, avg(reward) AS mean_reward,
        sum(reward / propensity) / sum(1.0 / propensity) AS weighted_mean_reward
    FROM outcomes WHERE experiment_id IS NOT NULL AND activated AND status = 'settled'
    GROUP BY experiment_id, variation_id, slot_id""",
)
"""Means are of settled outcomes alone: of decisions whose window is open only rewarded ones have an
outcome yet. A decision is rewarded once a reward came, whatever no answer is worth."""

_OF_WHAT_IS_LEARNED = (
    """CREATE VIEW slot_daily AS
    SELECT date(time / 1000000, 'unixepoch') AS day, slot_id, sum(decision) AS decisions,
        sum(impression) AS impressions, sum(reward) AS reward,
        sum(inverse_propensity) AS inverse_propensity, sum(not_learned) AS not_learned
    FROM (
        SELECT time, slot_id, 1 AS decision, 0 AS impression, 0.0 AS reward,
            0.0 AS inverse_propensity, 0 AS not_learned
        FROM decisions
        UNION ALL
        SELECT time, slot_id, 0, not_learned IS NULL, iif(not_learned IS NULL, reward, 0.0),
            iif(not_learned IS NULL, 1.0 / propensity, 0.0), not_learned IS NOT NULL
        FROM outcomes WHERE activated AND status = 'settled'
    )
    GROUP BY date(time / 1000000, 'unixepoch'), slot_id""",
    """CREATE VIEW action_funnel AS
    SELECT slot_id, action_id, count(*) AS decisions, sum(learned) AS impressions,
        sum(learned AND delay IS NOT NULL) AS rewarded, sum(iif(learned, reward, 0.0)) AS reward,
        avg(propensity) AS mean_propensity, sum(not_learned IS NOT NULL) AS not_learned
    FROM (
        SELECT o.*, activated AND status = 'settled' AND not_learned IS NULL AS learned
        FROM outcomes o WHERE status <> 'pending'
    )
    GROUP BY slot_id, action_id""",
    """CREATE VIEW learning_curve AS
    SELECT slot_id, hour, decisions, reward,
        sum(reward) OVER (PARTITION BY slot_id ORDER BY hour)
            / sum(decisions) OVER (PARTITION BY slot_id ORDER BY hour) AS mean_reward_so_far
    FROM (
        SELECT slot_id, time / 3600000000 * 3600000000 AS hour, count(*) AS decisions,
            sum(reward) AS reward
        FROM outcomes WHERE activated AND status = 'settled' AND not_learned IS NULL
        GROUP BY slot_id, time / 3600000000
    )""",
    """CREATE VIEW experiment_summary AS
    SELECT experiment_id, variation_id, slot_id, count(*) AS decisions,
        sum(reward) AS reward, avg(reward) AS mean_reward,
        sum(reward / propensity) / sum(1.0 / propensity) AS weighted_mean_reward
    FROM outcomes
    WHERE experiment_id IS NOT NULL AND activated AND status = 'settled' AND not_learned IS NULL
    GROUP BY experiment_id, variation_id, slot_id""",
)
"""What is learned of, at every position of a slate: robots and loud visitors are left out, and
counted apart where a report has more than means. The first position alone has the decision's key.
"""

VIEWS_SINCE = {7: _OF_WHAT_SETTLED, 8: _OF_WHAT_IS_LEARNED}
"""The views that a migration makes anew, by its version."""

-- The daily report kept ready, for dashboards over months of decisions. Run by hand.
-- It is refreshed in full each night; the view slot_daily stays exact to the last transaction.

CREATE MATERIALIZED VIEW slot_daily_kept
    BUILD IMMEDIATE
    REFRESH COMPLETE ON DEMAND
    START WITH SYSDATE NEXT TRUNC(SYSDATE) + 1 + 2 / 24
AS
SELECT day, slot_id, decisions, impressions, reward, inverse_propensity, not_learned
FROM slot_daily;

CREATE UNIQUE INDEX slot_daily_kept_by_day ON slot_daily_kept (day, slot_id);

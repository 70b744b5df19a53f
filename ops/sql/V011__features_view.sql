-- A policy that learns from features without a declaration says how it sees them; of those that were
-- stored before it is not known.

ALTER TABLE policy_snapshots ADD (features_view JSON);

COMMENT ON COLUMN policy_snapshots.features_view IS 'How the posterior sees features without a declaration, and what comes after it; NULL where they are declared';

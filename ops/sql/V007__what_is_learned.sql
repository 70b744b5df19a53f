-- What does not teach though it counts is known by its reason; of what was stored before all taught.

ALTER TABLE decisions ADD (robot BOOLEAN DEFAULT FALSE NOT NULL);

COMMENT ON COLUMN decisions.robot IS 'True where the request said that no person asks';

ALTER TABLE outcomes ADD (not_learned VARCHAR2(256 CHAR));

COMMENT ON COLUMN outcomes.not_learned IS 'Why nothing learns from it though it counts, NULL where something does';

-- A decision says between how many actions it chose; of those stored before nothing is known.

ALTER TABLE decisions ADD (eligible NUMBER(19) DEFAULT 0 NOT NULL);

COMMENT ON COLUMN decisions.eligible IS 'Between how many actions it was chosen';

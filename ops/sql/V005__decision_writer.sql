-- A decision names its writer; those that were stored before all came from the personalize flow.

ALTER TABLE decisions ADD (writer VARCHAR2(256 CHAR) DEFAULT 'personalize' NOT NULL);

COMMENT ON COLUMN decisions.writer IS 'Which part of Banditflow decided';

-- Features that requests gave to actions: kept once for each content, which decisions name by its
-- hash; decisions that were stored before had none.

CREATE TABLE IF NOT EXISTS action_contents (
    content VARCHAR2(256 CHAR) NOT NULL,
    features JSON NOT NULL,
    CONSTRAINT action_contents_pk PRIMARY KEY (content)
);

COMMENT ON TABLE action_contents IS 'Features that requests gave to actions, each content once';
COMMENT ON COLUMN action_contents.content IS 'The 64-bit BLAKE2b of the features as JSON with sorted names, in hexadecimal';
COMMENT ON COLUMN action_contents.features IS 'The features: an object or a list of objects';

ALTER TABLE decisions ADD (contents JSON);

COMMENT ON COLUMN decisions.contents IS 'The content of each action whose features are known, by id; NULL where no features came';

ALTER TABLE decisions ADD (context JSON);

COMMENT ON COLUMN decisions.context IS 'The context of the request, where the slot takes features without a declaration';

ALTER TABLE decisions ADD (contents_left_out NUMBER(19) DEFAULT 0 NOT NULL);

COMMENT ON COLUMN decisions.contents_left_out IS 'How many actions have features that had no room in the record';

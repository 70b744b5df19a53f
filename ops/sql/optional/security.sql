-- Hardening, for those who may: run by hand as the administrator of the pluggable database.
-- In Autonomous Database encryption at rest is always on. Which of these options a licence covers
-- is for you to check; none is needed by the flows.

-- A reader who sees results, but no pseudonym.
CREATE USER IF NOT EXISTS banditflow_reader NO AUTHENTICATION;
GRANT CREATE SESSION TO banditflow_reader;
GRANT SELECT ON banditflow.slot_daily TO banditflow_reader;
GRANT SELECT ON banditflow.action_funnel TO banditflow_reader;
GRANT SELECT ON banditflow.learning_curve TO banditflow_reader;
GRANT SELECT ON banditflow.experiment_summary TO banditflow_reader;
GRANT SELECT ON banditflow.decisions TO banditflow_reader;

-- The pseudonym is blanked for everyone but its owner (Data Redaction).
BEGIN
    DBMS_REDACT.ADD_POLICY(
        object_schema => 'BANDITFLOW',
        object_name => 'DECISIONS',
        column_name => 'SUBJECT',
        policy_name => 'decisions_subject',
        function_type => DBMS_REDACT.NULLIFY,
        expression => 'SYS_CONTEXT(''USERENV'', ''SESSION_USER'') <> ''BANDITFLOW'''
    );
END;
/

-- A reader sees the rows of its own slots only, through the views as well (Virtual Private
-- Database). The predicate's subquery is checked with the rights of the function's owner, so a
-- reader needs none on reader_slots. The owner, and with it the flows, sees everything.
CREATE TABLE IF NOT EXISTS banditflow.reader_slots (
    reader VARCHAR2(128 CHAR) NOT NULL,
    slot_id VARCHAR2(256 CHAR) NOT NULL,
    CONSTRAINT reader_slots_pk PRIMARY KEY (reader, slot_id)
);
COMMENT ON TABLE banditflow.reader_slots IS 'The slots that each reader may see';
COMMENT ON COLUMN banditflow.reader_slots.reader IS 'The database user, in capitals';
COMMENT ON COLUMN banditflow.reader_slots.slot_id IS 'A slot that it may see';

CREATE OR REPLACE FUNCTION banditflow.slots_of_reader (owner_name VARCHAR2, object_name VARCHAR2)
RETURN VARCHAR2
AS
BEGIN
    IF SYS_CONTEXT('USERENV', 'SESSION_USER') = owner_name THEN
        RETURN NULL;
    END IF;
    RETURN 'slot_id IN (SELECT slot_id FROM banditflow.reader_slots'
        || ' WHERE reader = SYS_CONTEXT(''USERENV'', ''SESSION_USER''))';
END;
/

BEGIN
    FOR guarded IN (
        SELECT table_name
        FROM all_tables
        WHERE owner = 'BANDITFLOW'
            AND table_name IN ('DECISIONS', 'OUTCOMES', 'DELIVERIES', 'OPTIMIZED_CONTENT')
    ) LOOP
        DBMS_RLS.ADD_POLICY(
            object_schema => 'BANDITFLOW',
            object_name => guarded.table_name,
            policy_name => 'own_slots',
            function_schema => 'BANDITFLOW',
            policy_function => 'SLOTS_OF_READER',
            statement_types => 'SELECT'
        );
    END LOOP;
END;
/

-- INSERT INTO banditflow.reader_slots (reader, slot_id) VALUES ('BANDITFLOW_READER', 'home');

-- Encrypted tablespace (Transparent Data Encryption), with the keystore open:
--   CREATE TABLESPACE banditflow_data ENCRYPTION USING 'AES256' ENCRYPT;
--   ALTER USER banditflow DEFAULT TABLESPACE banditflow_data QUOTA UNLIMITED ON banditflow_data;

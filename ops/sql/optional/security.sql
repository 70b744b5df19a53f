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

-- Encrypted tablespace (Transparent Data Encryption), with the keystore open:
--   CREATE TABLESPACE banditflow_data ENCRYPTION USING 'AES256' ENCRYPT;
--   ALTER USER banditflow DEFAULT TABLESPACE banditflow_data QUOTA UNLIMITED ON banditflow_data;

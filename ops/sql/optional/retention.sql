-- Drop the daily partitions of decisions, outcomes and deliveries that are older than a number of days.
-- Run by hand, or nightly by a job of DBMS_SCHEDULER. The global indexes stay usable.
--
--   SQL> EXEC drop_older_than(400)

CREATE OR REPLACE PROCEDURE drop_older_than (days IN PLS_INTEGER)
AUTHID CURRENT_USER
AS
    above DATE;
BEGIN
    FOR part IN (
        SELECT table_name, partition_name, high_value
        FROM user_tab_partitions
        WHERE table_name IN ('DECISIONS', 'OUTCOMES', 'DELIVERIES') AND interval = 'YES'
    ) LOOP
        -- The high value is an expression of the data dictionary, such as TIMESTAMP' 2026-03-02 ...'
        EXECUTE IMMEDIATE 'SELECT CAST(' || part.high_value || ' AS DATE) FROM dual' INTO above;
        IF above <= SYS_EXTRACT_UTC(SYSTIMESTAMP) - days THEN
            EXECUTE IMMEDIATE
                'ALTER TABLE ' || DBMS_ASSERT.SIMPLE_SQL_NAME(part.table_name)
                || ' DROP PARTITION ' || DBMS_ASSERT.SIMPLE_SQL_NAME(part.partition_name)
                || ' UPDATE INDEXES';
        END IF;
    END LOOP;
END;
/

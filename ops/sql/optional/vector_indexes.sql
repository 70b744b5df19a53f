-- Approximate similarity search, for tables too large for exact search. Run by hand, once the
-- dimension of the embeddings is settled; 32 stands for it here.
--
-- An index needs a declared dimension; a vector of another one is then refused (ORA-51803) and its
-- record becomes a dead letter. The look-ups of the store stay exact; use the query at the end.

ALTER TABLE actions MODIFY (embedding VECTOR(32, FLOAT32));
ALTER TABLE user_profiles MODIFY (embedding VECTOR(32, FLOAT32));

-- Actions change seldom: an in-memory graph. It needs VECTOR_MEMORY_SIZE, which Autonomous
-- Database sizes itself; elsewhere:
--   ALTER SYSTEM SET vector_memory_size = 512M SCOPE = SPFILE;    and restart
CREATE VECTOR INDEX actions_by_embedding ON actions (embedding)
    ORGANIZATION INMEMORY NEIGHBOR GRAPH
    DISTANCE COSINE
    WITH TARGET ACCURACY 95
    PARAMETERS (TYPE HNSW, NEIGHBORS 40, EFCONSTRUCTION 500);

-- Profiles change all the time: partitions of neighbours take updates better than a graph does.
CREATE VECTOR INDEX user_profiles_by_embedding ON user_profiles (embedding)
    ORGANIZATION NEIGHBOR PARTITIONS
    DISTANCE COSINE
    WITH TARGET ACCURACY 95
    PARAMETERS (TYPE IVF, NEIGHBOR PARTITIONS 100);

-- SELECT subject
-- FROM user_profiles
-- WHERE NOT deleted
-- ORDER BY VECTOR_DISTANCE(embedding, :query, COSINE)
-- FETCH APPROX FIRST 10 ROWS ONLY WITH TARGET ACCURACY 90;

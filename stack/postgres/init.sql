-- Run once, when the volume pgdata is new. POSTGRES_DB (streamflow) is there already: users, months, labels and, for
-- Feast, features. The index of runs and the tables behind F1PA's /data have databases of their own.
CREATE DATABASE vigie;
CREATE DATABASE f1pa;

SET LOCAL lock_timeout = '5s';
DROP TABLE migration_runs;
DROP TABLE deployment;
DROP FUNCTION refuse_to_rewrite_deployment();

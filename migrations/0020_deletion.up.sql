-- When an organisation that is being deleted ends: serves DELETE and POST /api/organization/deletion, and the sweeper.

SET LOCAL lock_timeout = '5s';

ALTER TABLE organizations ADD COLUMN delete_after timestamptz;

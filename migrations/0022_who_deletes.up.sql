-- Who asked for an organisation to be deleted: serves PATCH and DELETE /api/users/{id}, which take that back from who owns it no more.
SET LOCAL lock_timeout = '5s';
-- Null where nobody has, and where a release before this one was asked.
ALTER TABLE organizations ADD COLUMN delete_by uuid;

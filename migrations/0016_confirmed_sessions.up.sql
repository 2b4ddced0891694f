-- When the session's owner last proved who they are: serves what asks for the password again (making keys, inviting, changing roles).
SET LOCAL lock_timeout = '5s';
-- Null until the first confirmation after signing in, which counts from `created_at`.
ALTER TABLE sessions ADD COLUMN confirmed_at timestamptz;

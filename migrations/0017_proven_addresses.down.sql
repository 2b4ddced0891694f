SET LOCAL lock_timeout = '5s';
ALTER TABLE users DROP COLUMN displaced_email;
ALTER TABLE users DROP COLUMN email_proven_at;

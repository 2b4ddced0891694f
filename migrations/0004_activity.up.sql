-- When a person last used the service, to within a minute: serves the gauge of active users.
ALTER TABLE users ADD COLUMN last_active_at timestamptz;

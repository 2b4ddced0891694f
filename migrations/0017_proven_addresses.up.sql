-- Whose address somebody else vouches for: serves accepting an invitation to an address that a stranger has registered with.
SET LOCAL lock_timeout = '5s';
-- When it was made by invitation, or by an operator. Null: whoever registered wrote whatever address they liked.
ALTER TABLE users ADD COLUMN email_proven_at timestamptz;
-- The folded address of an account that had to give it up to an invited one; it signs in by it still, with its own password.
ALTER TABLE users ADD COLUMN displaced_email text;
UPDATE users SET email_proven_at = users.created_at FROM invitations
WHERE invitations.organization_id = users.organization_id AND invitations.email_folded = users.email_folded
    AND invitations.accepted_at IS NOT NULL;

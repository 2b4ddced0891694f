ALTER TABLE organizations DROP COLUMN IF EXISTS share_answers;

-- Machines that are given no new instances, because somebody wants them empty.
ALTER TABLE machines ADD COLUMN draining INTEGER NOT NULL DEFAULT 0 CHECK (draining IN (0, 1));

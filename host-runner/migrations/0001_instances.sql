-- One row for each instance: what it is meant to be, what it is meant to do, its last power-on, and what was last seen of it.
-- The JSON columns hold the agent's own records (see src/ledger/record.rs); what is searched or unique has a column of its own.
CREATE TABLE instances (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    generation    INTEGER NOT NULL CHECK (generation >= 1),
    created_at_ms INTEGER NOT NULL,
    spec          TEXT    NOT NULL CHECK (json_valid(spec)),
    intent        TEXT    NOT NULL CHECK (json_valid(intent)),
    launch        TEXT             CHECK (launch IS NULL OR json_valid(launch)),
    status        TEXT    NOT NULL CHECK (json_valid(status))
) STRICT;

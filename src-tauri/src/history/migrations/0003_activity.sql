-- The activity list. Numbers are never used twice, so that a page's end stays where it is.
CREATE TABLE activity (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    machine     TEXT,
    instance    TEXT,
    instance_id TEXT,
    took_ms     INTEGER,
    -- An ApiError as JSON.
    error       TEXT,
    request_id  TEXT
) STRICT;

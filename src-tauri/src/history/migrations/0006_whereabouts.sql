-- On which machine each instance was seen last, so that one that turns up on another is known to have been moved.
CREATE TABLE whereabouts (
    instance TEXT    NOT NULL PRIMARY KEY,
    -- The machine's own identity, which is the same in every pool.
    host     TEXT    NOT NULL,
    -- When it was first seen there after it had been on another; milliseconds since 1970, by the desktop's clock.
    moved_at INTEGER,
    seen_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX whereabouts_by_age ON whereabouts (seen_at);

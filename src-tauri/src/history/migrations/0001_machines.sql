-- The machines of this desktop's pool, in the order in which they were added. No secret is ever stored.
CREATE TABLE machines (
    id       TEXT    NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    name     TEXT    NOT NULL,
    -- A MachineAddress as JSON.
    address  TEXT    NOT NULL UNIQUE,
    -- Milliseconds since 1970.
    added_at INTEGER NOT NULL
) STRICT;

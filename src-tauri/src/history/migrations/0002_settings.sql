-- What was chosen for the window: one row, the Settings as JSON.
CREATE TABLE settings (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    value TEXT    NOT NULL
) STRICT;

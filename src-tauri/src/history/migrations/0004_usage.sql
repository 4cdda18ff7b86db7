-- Measurements for charts: means over ten seconds, by the desktop's clock.
CREATE TABLE usage (
    machine         TEXT    NOT NULL,
    at              INTEGER NOT NULL,
    -- 0..=100 over all threads.
    cpu_percent     REAL    NOT NULL,
    memory_used_mib INTEGER NOT NULL,
    memory_total_mib INTEGER NOT NULL,
    PRIMARY KEY (machine, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_age ON usage (at);

CREATE TABLE schema_changes (
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    stream TEXT NOT NULL,
    run TEXT NOT NULL,
    table_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- '' where there is none, so that a change reported twice by one run is one row.
    from_type TEXT NOT NULL,
    to_type TEXT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, connection, stream, run, column_name, kind, from_type, to_type),
    FOREIGN KEY (tenant, connection) REFERENCES connections (tenant, name) ON DELETE CASCADE
);

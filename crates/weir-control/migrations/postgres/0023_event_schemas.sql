-- Schemas that the project registered beside weir's own.
CREATE TABLE event_families (
    tenant TEXT NOT NULL,
    family TEXT NOT NULL,
    -- How a new version has to fit the ones before it.
    compatibility TEXT NOT NULL CHECK (compatibility IN ('none', 'backward', 'backward_transitive', 'forward',
        'forward_transitive', 'full', 'full_transitive')),
    PRIMARY KEY (tenant, family)
);

CREATE TABLE event_schemas (
    tenant TEXT NOT NULL,
    family TEXT NOT NULL,
    version BIGINT NOT NULL,
    -- JSON Schema.
    body TEXT NOT NULL,
    registered_at_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, family, version),
    FOREIGN KEY (tenant, family) REFERENCES event_families (tenant, family) ON DELETE CASCADE
);

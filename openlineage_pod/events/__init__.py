"""Events: OpenLineage's documents and facets, without credentials and within their size."""

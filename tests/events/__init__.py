"""Tests of events: their documents, facets and namespaces."""

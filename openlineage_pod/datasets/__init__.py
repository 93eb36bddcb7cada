"""Datasets: their names, schemas and column lineage."""

"""Tests of datasets: their names, schemas and statistics."""

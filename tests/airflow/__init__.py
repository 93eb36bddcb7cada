"""Tests of the DAG side."""

"""Tests of replay and relay."""

"""Transports: the ways to a backend."""

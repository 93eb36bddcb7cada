"""Tests with real processes, sockets and servers."""

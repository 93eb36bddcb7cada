"""Faults: what becomes of a job and of its events while something around them is broken."""

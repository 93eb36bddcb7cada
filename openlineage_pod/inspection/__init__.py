"""Inspection: what a person wants to know of events and of the backends that take them."""

"""Delivery: events from the job's threads to the backend, and what becomes of those that it does not take."""

"""The run: what a job reports about itself, and how its process lives."""

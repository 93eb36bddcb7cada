"""Delivery of events: beside the job, with one retry layer and one deadline, and nothing lost in silence."""

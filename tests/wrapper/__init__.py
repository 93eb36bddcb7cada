"""Tests of the wrapper `openlineage-pod run`."""

"""The wrapper `openlineage-pod run`: one command, supervised and reported."""

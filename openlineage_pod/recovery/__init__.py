"""Recovery: delivering what other processes left behind in spools, files and logs."""

"""Type checks of how users call the library."""

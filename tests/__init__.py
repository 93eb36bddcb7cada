"""The test suite; it mirrors the modules of the package."""

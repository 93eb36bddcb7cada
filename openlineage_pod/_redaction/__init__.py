"""What looks like a credential in a text, by its form. It imports little, because every job imports it."""

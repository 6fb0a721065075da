"""A run: flags, its stages in order, and the record of them."""

"""Networks and their parts, for use in a definition."""

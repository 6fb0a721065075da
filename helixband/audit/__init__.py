"""What a good score could come from besides biology: leakage, and what trivial models score."""

"""What a person sees while a run is under way: its progress, as a live display or as plain lines."""

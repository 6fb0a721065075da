"""Pictures of what a model was given and what it made of it."""

"""What a search is made of: samplers of configurations, and the running of a trial."""

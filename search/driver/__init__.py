"""One session of a search, from options to the last trial."""

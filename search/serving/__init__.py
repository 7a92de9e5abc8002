"""A saved model behind a page on this machine: one radiograph in, one answer out, nothing kept."""

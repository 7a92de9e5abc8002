"""What the audit, the machine and the time budget leave of a space."""

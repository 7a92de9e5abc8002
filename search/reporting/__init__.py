"""What is read afterwards, at the terminal and in HTML."""

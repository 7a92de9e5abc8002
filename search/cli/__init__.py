"""What all commands share: the terminal, quantities, progress bars."""

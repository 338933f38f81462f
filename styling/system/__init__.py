"""What the machine gives: errors, files, terminal, process, memory, device."""

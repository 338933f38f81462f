"""Where a network's file is found, and how its layers are computed."""

"""What is minimised: losses, terms, targets, masks at layers, tiles."""

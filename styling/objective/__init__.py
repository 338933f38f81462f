"""What is minimised: losses, terms, targets, guides, tiles."""

"""The page to paint in, and the view of a run on the command line: consumers of the same generator."""

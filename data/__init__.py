"""What ships with the program: the small network and example images."""

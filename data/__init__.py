"""What ships with the program: the compact network and example images."""

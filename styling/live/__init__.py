"""A run watched in the browser."""

"""Clips, optical flow, frames, and writing films."""

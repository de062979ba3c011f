"""Models of our own, and the one door through which saved models come in."""

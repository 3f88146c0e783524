"""What a container, image and volume is, and what may be done with it."""

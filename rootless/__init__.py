"""What the kernel is asked to do, as an ordinary user."""

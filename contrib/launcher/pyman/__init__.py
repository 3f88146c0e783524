"""The installed pyman: a private directory that holds its packages, so that site-packages gains a single name."""

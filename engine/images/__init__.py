"""Images: names, manifests, registries, archives."""

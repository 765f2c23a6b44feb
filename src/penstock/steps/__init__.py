"""Steps: the kit for writing one, what runs them, and the ones that come with Penstock."""

"""Puts the parts together: for `penstock serve` (`serve.App`), and for each service that runs by itself."""

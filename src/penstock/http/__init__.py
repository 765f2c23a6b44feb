"""HTTP: the upload protocols, the API, event streams, health and metrics."""

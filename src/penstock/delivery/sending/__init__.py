"""The gateway's side of a delivery: what a start event's URL becomes for its step, and what is done before."""

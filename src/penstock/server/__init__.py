"""What runs until it is told to end: a service with its way in."""

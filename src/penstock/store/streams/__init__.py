"""What the stores on NATS JetStream are made of: a stream, an index of it in memory, and a store on top of both."""

"""What uploaders say about an upload, and how we answer, as text: nothing in here reads a body or writes one."""

"""What is known of uploads, and of the files that they became; every change of phase happens in here."""

"""What is known of uploads, and of the files that they became: all of their SQL, and every change of phase."""

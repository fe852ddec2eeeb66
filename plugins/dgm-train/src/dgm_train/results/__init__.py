"""What a training leaves: entries, pictures of samples, and digests of what it was made of."""

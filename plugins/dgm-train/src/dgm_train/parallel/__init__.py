"""Several processes: they meet, agree, share samples, and train one model."""

"""What keeps a stranger's file from harm: programs that run unasked, memory or downloads without end, other bytes."""

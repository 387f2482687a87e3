"""Our HTTP face: read, call the flow, write."""

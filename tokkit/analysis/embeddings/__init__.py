"""What is in the rows of an embedding: geometry, categories, untrained rows, spelling."""

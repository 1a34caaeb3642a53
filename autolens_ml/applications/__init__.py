"""Tasks a user runs from files: data in, a result and figures out."""

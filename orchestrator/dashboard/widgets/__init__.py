"""Each takes a value to show; none knows the link or the app."""

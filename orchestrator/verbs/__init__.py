"""What each verb of `crew` does: dial, write one line, print."""

"""The real Claude CLI in tests, against a local stand-in for the Messages API."""

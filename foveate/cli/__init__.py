"""The command line, and the laptop fleet that it starts."""

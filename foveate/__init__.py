"""What two apps must agree on, and the command line; knows no app."""

"""What the sub-commands do, one module each, usable without the command line."""

"""The command `nacim`: `app:main` runs it; each other file is a command, or what one prints."""

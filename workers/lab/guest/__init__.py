"""What runs inside a guest: kernel, file system, programs, saved states."""

"""Guests and their content: kernel, file system, programs, saved states."""

"""What a guest with UEFI firmware boots from: a system partition, signed images, and the firmware's variables.

All of it is made in memory from the parts under test; a guest gets it in files without a name.
"""

"""The images, keys and firmware variables with which a UEFI guest boots.

They are made in memory, from the parts under test. A guest gets them as files without a name.
"""

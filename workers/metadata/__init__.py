"""What accompanies a package: provenance, bills of materials, errata, groups."""

"""The service on one machine: processes, ports, base folders."""

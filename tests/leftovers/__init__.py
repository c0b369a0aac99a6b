"""What machines hold or have left: in envup's home, on the host, in the Docker engine. An empty list of everything is
what `destroy` owes."""

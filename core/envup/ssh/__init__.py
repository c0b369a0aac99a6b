"""SSH for every machine: a server on the standard streams of OpenSSH's `ProxyCommand`, for one machine and one client.

Nothing listens on the network. What a client asks for is done by the provider's `command` and `dial`, so that a machine
needs no server of its own; see docs/ssh.md.
"""

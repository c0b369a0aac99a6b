"""The network that an environment's machines share, for every provider that makes such networks.

A *keeper* process owns a network namespace with a bridge, slirp4netns(1) takes it out, ports of the host are forwarded
in user space. It is the same as root and for an ordinary account, and its end leaves nothing.

These modules are for providers, and keep their meaning as the contracts do:

- `network`: the networks that a machine can be part of, what each needs, and what is refused
- `addresses`, `resolver`: which address each machine has; the text of its /etc/resolv.conf
- `client`: a command's connection to the keeper, which it starts where there is none
- `keeper`, `commands`, `members`, `bridge`, `loop`, `streams`, `wire`, `descriptors`: for the program that becomes the
  keeper, and for what it does beside

All others are how these are made, and no provider's to import.
"""

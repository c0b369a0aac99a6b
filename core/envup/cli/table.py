"""Every verb and what it does in one line. Plain data, so that `help` and a misspelt verb import no verb."""

from __future__ import annotations

VERBS = {
    "new": "write a commented Envfile",
    "validate": "tell all problems of the Envfile",
    "plan": "show what `up` would do, and why",
    "up": "make the machines what the Envfile says",
    "provision": "run provision steps again",
    "exec": "run a program in a machine",
    "shell": "open a login shell in a machine",
    "copy": "copy files into or out of a machine",
    "status": "show the state of each machine",
    "list": "list every environment of this user",
    "trust": "show what was agreed to beyond the machines, or take it back",
    "logs": "show what the steps and the console said",
    "ports": "show forwarded ports",
    "ssh-config": "print OpenSSH configuration for the machines",
    "stop": "stop machines gracefully",
    "suspend": "freeze machines, which keep their memory",
    "resume": "go on with suspended machines",
    "snapshot": "keep states of machines under a name, and go back to them",
    "package": "write a machine's files as an image that others are made from",
    "restart": "stop machines and bring them up again",
    "destroy": "remove machines and all that was made for them",
    "lock": "write down what images, plugins and steps are, so that others get the same",
    "images": "list, build or remove images",
    "prune": "free what nothing uses",
    "doctor": "check what each provider needs on this host",
    "plugins": "list providers, provisioners and image sources",
    "schema": "print the JSON schema of the Envfile",
    "version": "print the version",
    "help": "explain a verb",
    "completion": "print completion for a shell",
}
"""Verb to summary, in the order in which a user meets them."""


def module(verb: str) -> str:
    """The module that carries a verb out."""
    return f"envup.cli.{verb.replace('-', '_')}"

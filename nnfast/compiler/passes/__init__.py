"""Passes: each takes a graph and rewrites it; `nnfast.compiler.optimize` says in which order they run."""

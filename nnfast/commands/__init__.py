"""The commands of ``nnfast``, a file each: HELP, DESCRIPTION, ``add_arguments(parser)``, ``run(arguments)``."""

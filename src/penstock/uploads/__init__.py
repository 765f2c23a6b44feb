"""Uploads: how they come in, what is known of them, and what becomes of them.

Each folder imports those below it, and all import the modules that lie beside this one:

    garbage     what nobody needs any more is removed
    files       what people find in a space, by paths
    receiving   how bytes come in: an upload begins, is written to, and has all of them
    gateway     the storage side of postprocessing: what is said on the bus, and what becomes of the bytes
    locking     who works on an upload: one at a time, in this process and among instances
    catalogue   what is known of uploads, and of the files that they became; every change of phase
    quotas      what spaces and users have
    protocols   what uploaders say, and how they are answered, as text
"""

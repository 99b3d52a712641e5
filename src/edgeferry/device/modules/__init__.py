"""The programs inside images: the model server and the companion.

Law: each imports as little as it can, since its image holds exactly what it imports.
"""

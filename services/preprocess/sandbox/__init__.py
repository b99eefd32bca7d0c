"""The half that touches hostile bytes: everything here runs in a child process under limits.

Imports neither grpc nor settings, so that a child is small and starts from a process without threads.
"""

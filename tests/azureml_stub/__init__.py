"""Azure ML as its SDK sees it, on this machine: a workspace that really runs what is submitted.

Not a mock of edgeferry: it stands where Azure stands, behind the proxy that `HTTPS_PROXY` names, under
Azure's own host names and a certificate of our authority. What it does not know it refuses, and it writes
down every request, so a test can say what left the machine and that nothing else did.
"""

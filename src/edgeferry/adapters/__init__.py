"""One outside thing a file. Here, and only here, another library's exceptions become ours."""

"""Microsoft Entra and Key Vault as HTTPS servers beside the tests: we neither own nor can run Azure's own."""

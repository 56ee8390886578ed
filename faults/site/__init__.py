"""The site under fire: an ordinary Django project whose tasks note what they did, beside the ledger."""

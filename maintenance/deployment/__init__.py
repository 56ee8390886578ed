"""What serves one site, looked at together: joins subjects, which do not know one another."""

"""Redis and Valkey as something to look after: streams kept at their length, memory watched."""

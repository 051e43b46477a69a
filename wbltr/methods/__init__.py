"""Tables of methods: one entry a method, which all that is said and done about it comes from. No torch, no numpy here."""

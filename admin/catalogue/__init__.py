"""The messages of the API in both languages. The English text is the key; the code and the log have only that."""

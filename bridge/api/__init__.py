"""The OSC API as one table: messages, fields, the forms they come in, and the page written from them."""

"""Reading model SQL, running it safely, scoring it."""

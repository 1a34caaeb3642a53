"""Neural solvers as autofit non-linear searches: only this room knows autofit's search contract."""

"""`checked` is how jaxtyping checks types while the tests run: beartype, with an int being good for a float."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
